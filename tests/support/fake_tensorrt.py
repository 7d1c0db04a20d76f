"""A fake TensorRT and CUDA, after their documentation, computed by ONNX Runtime on the CPU.

It shows that slimpose's calls fit together and that arrays arrive complete, not that TensorRT
accepts a file.
Source: NVIDIA's TensorRT 10 Python API and CUDA runtime API references.
"""

from __future__ import annotations

import ctypes
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime

HEADER = b"engine of a fake GPU\n"
TYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}


class Cuda:
    """cuda.bindings.runtime: calls return (error, value), pointers are keys of ``memory``."""

    cudaError_t = SimpleNamespace(cudaSuccess=0)  # noqa: N815
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)  # noqa: N815

    def __init__(self) -> None:
        self.memory: dict[int, bytearray] = {}
        self.waiting = 0

    def cudaStreamCreate(self) -> tuple[int, int]:
        return 0, 77

    def cudaMalloc(self, size: int) -> tuple[int, int]:
        pointer = 4096 * (len(self.memory) + 1)
        self.memory[pointer] = bytearray(size)
        return 0, pointer

    def cudaFree(self, pointer: int) -> tuple[int]:
        del self.memory[pointer]
        return (0,)

    def cudaMemcpyAsync(
        self, to: int, source: int, size: int, kind: int, stream: int
    ) -> tuple[int]:
        assert stream == 77
        self.waiting += 1
        if kind == 1:
            assert size <= len(self.memory[to])
            self.memory[to][:size] = ctypes.string_at(source, size)
        else:
            ctypes.memmove(to, bytes(self.memory[source][:size]), size)
        return (0,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:
        assert stream == 77
        self.waiting = 0
        return (0,)


class TensorRt:
    """The tensorrt module. ``build`` has the settings of the last build."""

    __version__ = "10.3.0"
    Logger = type("Logger", (), {"WARNING": 2, "ERROR": 1, "__init__": lambda self, level: None})
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    BuilderFlag = SimpleNamespace(TF32="tf32")
    MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    TensorIOMode = SimpleNamespace(INPUT="in", OUTPUT="out")

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda
        self.build: dict[str, Any] = {}
        self.parser_error = ""

    def nptype(self, kind: str) -> Any:
        return TYPES[kind]

    def Builder(self, logger: object) -> Any:
        return SimpleNamespace(
            create_network=self._network,
            create_builder_config=self._config,
            create_optimization_profile=lambda: SimpleNamespace(set_shape=self._set_shape),
            build_serialized_network=self._build,
        )

    def _network(self, flags: int) -> Any:
        self.build = {"flags": flags}
        return SimpleNamespace(
            get_input=lambda number: self._input(self.build["onnx"].graph.input[number])
        )

    def _input(self, value: onnx.ValueInfoProto) -> Any:
        shape = [size.dim_value or -1 for size in value.type.tensor_type.shape.dim]
        return SimpleNamespace(name=value.name, shape=shape)

    def OnnxParser(self, network: object, logger: object) -> Any:
        def parse(data: bytes) -> bool:
            self.build["onnx"] = onnx.load_from_string(data)
            return not self.parser_error

        return SimpleNamespace(
            parse=parse,
            num_errors=1,
            get_error=lambda number: SimpleNamespace(desc=lambda: self.parser_error),
        )

    def _config(self) -> Any:
        def create_cache(data: bytes) -> Any:
            self.build["timings"] = data
            return SimpleNamespace(serialize=lambda: b"timings")

        def set_cache(cache: Any, ignore_mismatch: bool) -> None:
            assert not ignore_mismatch
            self.build["cache"] = cache

        return SimpleNamespace(
            clear_flag=lambda flag: self.build.setdefault("cleared", flag),
            set_memory_pool_limit=lambda pool, size: self.build.setdefault(pool, size),
            create_timing_cache=create_cache,
            set_timing_cache=set_cache,
            get_timing_cache=lambda: self.build["cache"],
            add_optimization_profile=lambda profile: self.build.setdefault("profiles", []).append(
                profile
            ),
        )

    def _set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self.build["profile"] = {name: list(shapes)}

    def _build(self, network: object, config: object) -> bytes | None:
        if len(self.build["profiles"]) != 1:
            return None
        profile = json.dumps(self.build["profile"]).encode()
        return HEADER + profile + b"\n" + self.build["onnx"].SerializeToString()

    def Runtime(self, logger: object) -> Any:
        return SimpleNamespace(deserialize_cuda_engine=self._engine)

    def _engine(self, data: bytes) -> Any:
        if not data.startswith(HEADER):
            return None
        profile, _, model = data.removeprefix(HEADER).partition(b"\n")
        return Engine(self.cuda, json.loads(profile), model)


class Engine:
    """An ICudaEngine, which is its own IExecutionContext."""

    def __init__(self, cuda: Cuda, profile: dict[str, Any], model: bytes) -> None:
        self.cuda, self.profile = cuda, profile
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        tensors = (*self.session.get_inputs(), *self.session.get_outputs())
        self.tensors = {tensor.name: tensor for tensor in tensors}
        self.num_io_tensors = len(self.tensors)
        self.addresses: dict[str, int] = {}
        self.batch = -1

    def create_execution_context(self) -> Engine:
        return self

    def get_tensor_name(self, number: int) -> str:
        return list(self.tensors)[number]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name in self.profile else "out"

    def get_tensor_dtype(self, name: str) -> str:
        return self.tensors[name].type

    def get_tensor_profile_shape(self, name: str, number: int) -> list[Any]:
        assert number == 0
        return self.profile[name]

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        minimum, _, maximum = self.profile[name]
        assert minimum[0] <= shape[0] <= maximum[0]
        assert list(shape[1:]) == minimum[1:]
        self.batch = shape[0]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.batch, *self.tensors[name].shape[1:])

    def set_tensor_address(self, name: str, pointer: int) -> None:
        self.addresses[name] = pointer

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 77
        assert set(self.addresses) == set(self.tensors)
        name = next(iter(self.profile))
        shape = self.get_tensor_shape(name)
        pixels = np.frombuffer(
            self.cuda.memory[self.addresses[name]], TYPES[self.tensors[name].type]
        )
        outputs = [tensor.name for tensor in self.session.get_outputs()]
        arrays = self.session.run(outputs, {name: pixels[: int(np.prod(shape))].reshape(shape)})
        for output, array in zip(outputs, arrays, strict=True):
            data = np.ascontiguousarray(array).tobytes()
            self.cuda.memory[self.addresses[output]][: len(data)] = data
        return True

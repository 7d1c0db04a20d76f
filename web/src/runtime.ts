// onnxruntime-web: which build is loaded, and sessions of model files.

import type * as Ort from "onnxruntime-common";

/** What runs the models: the processor, or the graphics processor. */
export type Backend = "wasm" | "webgpu";

/** The parts of onnxruntime-web that are used. */
export type OrtModule = Pick<typeof Ort, "env" | "InferenceSession" | "Tensor">;
type OrtSession = Ort.InferenceSession;

export interface RuntimeOptions {
  /** Default: WebGPU where the browser has it, else WASM. */
  backend?: Backend | "auto";
  /** Threads of WASM: by default half of the processor's, at most 4; 1 on a page without isolation. */
  threads?: number;
  /** onnxruntime-web as a bundler imports it; by default the files of the exported folder. */
  ort?: OrtModule;
}

const BUILDS: Record<Backend, string> = { wasm: "ort.wasm.min.mjs", webgpu: "ort.webgpu.min.mjs" };
const MAX_THREADS = 4;

export class Runtime {
  private constructor(
    readonly backend: Backend,
    readonly threads: number,
    private readonly ort: OrtModule,
  ) {}

  /** Loads onnxruntime-web from `folder`, unless `options.ort` is given. */
  static async open(folder: URL, options: RuntimeOptions): Promise<Runtime> {
    const backend = await chooseBackend(options.backend ?? "auto");
    // Threads share memory, which browsers allow only on isolated pages.
    const available = globalThis.crossOriginIsolated
      ? Math.max(1, Math.min(MAX_THREADS, Math.ceil(navigator.hardwareConcurrency / 2)))
      : 1;
    const threads = options.threads ?? available;
    if (!(Number.isInteger(threads) && threads >= 1)) {
      throw new RangeError(`threads is ${threads}; expected a whole number, 1 or more`);
    }
    if (threads > 1 && !globalThis.crossOriginIsolated) {
      throw new RangeError(
        `threads is ${threads}, and this page is not isolated; expected 1, or a server that sends ` +
          "the headers COOP and COEP (docs/browser.md)",
      );
    }
    const ort: OrtModule = options.ort ?? (await import(new URL(BUILDS[backend], folder).href));
    ort.env.logLevel = "error";
    ort.env.wasm.numThreads = threads;
    ort.env.wasm.proxy = backend === "wasm" && typeof Worker !== "undefined"; // a thread of its own
    if (!options.ort) ort.env.wasm.wasmPaths = folder.href;
    return new Runtime(backend, threads, ort);
  }

  async session(file: Uint8Array): Promise<Session> {
    const providers = this.backend === "webgpu" ? ["webgpu", "wasm"] : ["wasm"];
    return new Session(
      await this.ort.InferenceSession.create(file, {
        executionProviders: providers,
        logSeverityLevel: 3, // errors
      }),
      this.ort,
    );
  }
}

async function chooseBackend(requested: Backend | "auto"): Promise<Backend> {
  if (!["wasm", "webgpu", "auto"].includes(requested)) {
    throw new RangeError(`backend is "${requested}"; expected wasm, webgpu or auto`);
  }
  if (requested === "wasm") return "wasm";
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  if (requested === "webgpu") {
    if (adapter) return "webgpu";
    throw new Error("this browser has no WebGPU adapter; expected backend wasm or auto");
  }
  // A fallback adapter computes on the processor, slower than WASM.
  return adapter && !adapter.info.isFallbackAdapter ? "webgpu" : "wasm";
}

/** A model: uint8 images of one size in, arrays out. */
export class Session {
  constructor(
    private readonly session: OrtSession,
    private readonly ort: OrtModule,
  ) {}

  /** Runs `count` RGB images, and returns the named outputs. */
  async run(
    images: Uint8Array,
    count: number,
    height: number,
    width: number,
    outputs: readonly string[],
  ): Promise<Float32Array[]> {
    const input = new this.ort.Tensor("uint8", images, [count, height, width, 3]);
    const results = await this.session.run({ [this.session.inputNames[0]]: input }, outputs);
    return outputs.map((name) => results[name].data as Float32Array);
  }

  async release(): Promise<void> {
    await this.session.release();
  }
}

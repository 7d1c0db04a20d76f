"""The state of the server as text for Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from slimpose.events.run_events import RunEvents
from slimpose.serve.pose_requests import RequestCounts
from slimpose.serve.state import CameraState

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_Samples = Iterable[tuple[Mapping[str, str], float]]


def exposition(
    cameras: Sequence[CameraState],
    requests: RequestCounts,
    *,
    open_requests: int,
    viewers: int,
    events: RunEvents,
) -> str:
    """Return the metrics in Prometheus's text format."""
    names = [{"camera": str(number), "name": camera.name} for number, camera in enumerate(cameras)]

    def each(value: str) -> _Samples:
        return [
            (label, float(getattr(camera, value)))
            for label, camera in zip(names, cameras, strict=True)
        ]

    live = [
        (label, float(camera.state == "live")) for label, camera in zip(names, cameras, strict=True)
    ]
    quantiles = [
        ({**label, "quantile": quantile}, ms / 1e3)
        for label, camera in zip(names, cameras, strict=True)
        for quantile, ms in (("0.5", camera.latency_p50_ms), ("0.95", camera.latency_p95_ms))
    ]
    by_status = [({"status": str(code)}, count) for code, count in requests.by_status.items()]
    return "".join(
        [
            _metric("camera_live", "gauge", "Whether frames arrive.", live),
            _metric("camera_fps", "gauge", "Processed frames per second.", each("fps")),
            _metric("camera_people", "gauge", "People in the newest frame.", each("people")),
            _metric("camera_frames_total", "counter", "Processed frames.", each("frames")),
            _metric("camera_dropped_total", "counter", "Replaced frames.", each("dropped")),
            _metric("camera_damaged_total", "counter", "Undecodable frames.", each("damaged")),
            _metric("camera_opened_total", "counter", "Connections.", each("connections")),
            _metric(
                "camera_latency_seconds",
                "gauge",
                "From a frame's arrival to its poses.",
                quantiles,
            ),
            _metric("viewers", "gauge", "Viewers of the page.", [({}, viewers)]),
            _metric("requests_open", "gauge", "Open requests for poses.", [({}, open_requests)]),
            _metric("requests_total", "counter", "Requests for poses by status.", by_status),
            _metric(
                "request_seconds_total",
                "counter",
                "Sum of the times of requests for poses.",
                [({}, requests.seconds)],
            ),
            _metric("images_total", "counter", "Images of requests.", [({}, requests.images)]),
            _metric("batches_total", "counter", "Batches of images.", [({}, requests.batches)]),
            *_event_metrics(names, events),
        ]
    )


def _event_metrics(names: Sequence[Mapping[str, str]], events: RunEvents) -> list[str]:
    """Return the metrics of zones, lines, postures and events."""
    counts = [(label, events.counts(number)) for number, label in enumerate(names)]
    zones = [
        ({**label, "zone": area}, count["people"])
        for label, areas in counts
        for area, count in areas.items()
        if "people" in count
    ]
    lines = [
        ({**label, "line": area, "direction": direction}, count[direction])
        for label, areas in counts
        for area, count in areas.items()
        for direction in ("in", "out")
        if direction in count
    ]
    postures = [
        ({**label, "posture": posture}, count)
        for number, label in enumerate(names)
        for posture, count in Counter(events.postures(number).values()).items()
    ]
    kinds = [({"kind": kind}, count) for kind, count in events.kinds().items()]
    outputs = [({"state": state}, count) for state, count in events.outputs().items()]
    return [
        _metric("zone_people", "gauge", "People in a zone.", zones),
        _metric("line_crossings_total", "counter", "People who crossed a line.", lines),
        _metric("posture_people", "gauge", "People by their posture.", postures),
        _metric("events_total", "counter", "Events by their kind.", kinds),
        _metric("event_outputs", "gauge", "Events by output and what became of them.", outputs),
    ]


def _metric(name: str, kind: str, text: str, samples: _Samples) -> str:
    full = f"slimpose_{name}"
    lines = [f"# HELP {full} {text}", f"# TYPE {full} {kind}"]
    lines += [f"{full}{_labels(labels)} {value:.10g}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    def escaped(value: str) -> str:
        return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    text = ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items())
    return f"{{{text}}}" if text else ""

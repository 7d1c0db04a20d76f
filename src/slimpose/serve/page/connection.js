// The WebSocket: reconnects by itself; every frame is confirmed once it has been drawn.

const LONGEST_WAIT_MS = 10000;

export class Connection {
  constructor(handlers) {
    this.handlers = handlers;
    this.waitMs = 500;
    this.open();
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(`${scheme}//${location.host}/api/live`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = (event) => this.receive(event.data);
    this.socket.onclose = () => {
      this.handlers.lost();
      setTimeout(() => this.open(), this.waitMs);
      this.waitMs = Math.min(2 * this.waitMs, LONGEST_WAIT_MS);
    };
  }

  async receive(data) {
    this.waitMs = 500;
    if (typeof data === "string") {
      const message = JSON.parse(data);
      this.handlers[message.type]?.(message);
      return;
    }
    const length = new DataView(data).getUint32(0);
    const frame = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    const socket = this.socket;
    try {
      await this.handlers.frame(frame, new Uint8Array(data, 4 + length));
    } finally {
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ ready: frame.camera }));
    }
  }

  show(cameras) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ show: cameras }));
  }
}

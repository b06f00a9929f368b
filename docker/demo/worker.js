"use strict";
// What the compiler wrote: a worker that takes jobs from jobs:$WORKER_TYPE and puts results into
// results:$WORKER_TYPE. A job is a name and the seconds it takes.
const net = require("net");

class Redis {
  constructor(url) {
    const { hostname, port } = new URL(url);
    this.received = Buffer.alloc(0);
    this.socket = net.createConnection({ host: hostname, port: Number(port || 6379) });
    this.socket.on("data", (chunk) => {
      this.received = Buffer.concat([this.received, chunk]);
      this.answer();
    });
    this.socket.on("error", (error) => fail(error.message));
    this.socket.on("end", () => fail("Redis closed the connection"));
  }

  /** Sends one command and resolves to its reply; one command at a time. */
  command(...words) {
    const bulk = (word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`;
    this.socket.write(`*${words.length}\r\n${words.map(bulk).join("")}`);
    return new Promise((resolve) => {
      this.resolve = resolve;
      this.answer();
    });
  }

  answer() {
    const parsed = parse(this.received, 0);
    if (parsed && this.resolve) {
      const resolve = this.resolve;
      this.resolve = undefined;
      this.received = this.received.subarray(parsed.end);
      resolve(parsed.value);
    }
  }

  close() {
    this.socket.removeAllListeners("end");
    this.socket.end();
  }
}

/** One reply and where it ends, or undefined while it is incomplete. */
function parse(bytes, start) {
  const lineEnd = bytes.indexOf("\r\n", start);
  if (lineEnd < 0) return undefined;
  const line = bytes.toString("utf8", start + 1, lineEnd);
  let end = lineEnd + 2;
  switch (bytes.toString("utf8", start, start + 1)) {
    case "$": {
      if (line === "-1") return { value: null, end };
      const length = Number(line);
      if (bytes.length < end + length + 2) return undefined;
      return { value: bytes.toString("utf8", end, end + length), end: end + length + 2 };
    }
    case "*": {
      if (line === "-1") return { value: null, end };
      const value = [];
      while (value.length < Number(line)) {
        const item = parse(bytes, end);
        if (!item) return undefined;
        value.push(item.value);
        end = item.end;
      }
      return { value, end };
    }
    case "-":
      return fail(line);
    default:
      return { value: line, end };
  }
}

function fail(reason) {
  console.error(`worker.js: ${reason}`);
  process.exit(1);
}

async function main() {
  const { REDIS_URL, WORKER_TYPE, GIT_SHA } = process.env;
  let stopping = false;
  process.on("SIGTERM", () => {
    stopping = true;
  });
  const redis = new Redis(REDIS_URL);
  while (!stopping) {
    // Leaving in the middle of a BLPOP could lose the job that Redis is just handing out, so each
    // one ends by itself after a second.
    const taken = await redis.command("BLPOP", `jobs:${WORKER_TYPE}`, "1");
    if (!taken) continue;
    const [name, seconds] = taken[1].split(" ");
    await new Promise((done) => setTimeout(done, Number(seconds) * 1000));
    await redis.command("RPUSH", `results:${WORKER_TYPE}`, `${name} done by ${GIT_SHA}`);
  }
  redis.close();
}

main();

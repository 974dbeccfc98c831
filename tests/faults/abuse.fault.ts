import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { create, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { GetSummaryRequestSchema, Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { startChild } from "../benchmarks/harness/child.ts";
import { grpcClient } from "../support/clients.ts";
import {
  flag,
  frame,
  frameType,
  headerBlock,
  initialWindowSize,
  settingsFrame,
} from "../support/http2-frames.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { isLongForm, report } from "./fault-run.ts";
import { RawHttp2 } from "./raw-http2.ts";

// Peers that misuse HTTP/2 find a bound to the memory that they can take, and others are served meanwhile.

const database = useTestDatabase();
const main = path.join(import.meta.dirname, "../../src/main.ts");

/** The short form makes do with a part of it. */
const scale = isLongForm ? 1 : 0.25;

/** As many as one connection may have. */
const maxStreams = 1024;

/** What the whole service may grow by, in MB, whatever a single connection or a few of them do. */
const maxGrowthMb = 400;

interface Attack {
  readonly name: string;
  /** @returns the connections that it was made over */
  attack(url: string): Promise<RawHttp2[]>;
  /** Whether the service is expected to hang up. */
  readonly endsIt: boolean;
}

const attacks: readonly Attack[] = [
  {
    name: "calls that are cancelled at once",
    endsIt: true,
    async attack(url) {
      const connections = await openMany(url, 4);
      await Promise.all(
        connections.map(async (connection) => {
          for (let call = 0; call < 100_000 && !connection.closed; call += 1) {
            await connection.send(
              headersOf("GetSummary", call),
              frame(frameType.reset, 0, idOf(call), Buffer.from([0, 0, 0, 8])),
            );
          }
        }),
      );
      return connections;
    },
  },
  {
    name: "thousands of calls that never go on",
    endsIt: false,
    async attack(url) {
      const connections = await openMany(url, 20 * scale);
      for (const connection of connections) {
        for (let call = 0; call < maxStreams; call += 1)
          await connection.send(headersOf("CreateEntry", call));
      }
      return connections;
    },
  },
  {
    name: "more calls than a connection may have",
    endsIt: true,
    async attack(url) {
      const connection = await RawHttp2.open(url);
      for (let call = 0; call < 50 * maxStreams * scale && !connection.closed; call += 1) {
        await connection.send(headersOf("CreateEntry", call));
      }
      return [connection];
    },
  },
  {
    name: "large messages that never end",
    endsIt: false,
    attack: (url) => sendUnfinished(url, "CreateEntry"),
  },
  {
    name: "large messages of streams that never end",
    endsIt: false,
    attack: (url) => sendUnfinished(url, "ImportEntries"),
  },
  {
    name: "a large message of a stream, byte by byte",
    endsIt: false,
    async attack(url) {
      const connection = await RawHttp2.open(url);
      await connection.send(
        headersOf("ImportEntries", 0),
        frame(frameType.data, 0, idOf(0), Buffer.from([0, 0, 0x40, 0, 0])),
      );
      const byte = frame(frameType.data, 0, idOf(0), Buffer.alloc(1));
      for (let bytes = 0; bytes < 400_000 * scale; bytes += 100) {
        await connection.send(...Array.from({ length: 100 }, () => byte));
        await sleep(1);
      }
      return [connection];
    },
  },
  {
    name: "a body that never ends",
    endsIt: false,
    async attack(url) {
      const connection = await RawHttp2.open(url);
      await connection.send(headersOf("CreateEntry", 0));
      const part = frame(frameType.data, 0, idOf(0), Buffer.alloc(16_384));
      for (let parts = 0; parts < 50_000 * scale && !connection.closed; parts += 1)
        await connection.send(part);
      return [connection];
    },
  },
  {
    name: "a body of nothing but empty frames",
    endsIt: true,
    async attack(url) {
      const connection = await RawHttp2.open(url);
      await connection.send(headersOf("CreateEntry", 0));
      const nothing = Buffer.concat(Array.from({ length: 100 }, () => frame(frameType.data, 0, idOf(0))));
      for (let parts = 0; parts < 20_000 && !connection.closed; parts += 1) await connection.send(nothing);
      return [connection];
    },
  },
  {
    name: "a window that lets no answer through",
    endsIt: false,
    async attack(url) {
      const connection = await RawHttp2.open(url, { [initialWindowSize]: 0 });
      await askForLargeAnswers(connection);
      return [connection];
    },
  },
  {
    name: "a peer that does not read",
    endsIt: false,
    async attack(url) {
      const connection = await RawHttp2.open(url, { [initialWindowSize]: 2 ** 31 - 1 });
      connection.stopReading();
      await askForLargeAnswers(connection);
      return [connection];
    },
  },
  {
    name: "many headers, with every call",
    endsIt: true,
    async attack(url) {
      const connection = await RawHttp2.open(url);
      for (let call = 0; call < maxStreams; call += 1)
        await connection.send(headersOf("CreateEntry", call, large));
      // By then headers as large find no room. Small ones fill up what is left; after a hundred refusals Node hangs up.
      for (let call = maxStreams; call < maxStreams + 400 && !connection.closed; call += 1)
        await connection.send(headersOf("CreateEntry", call));
      return [connection];
    },
  },
  {
    name: "headers that never end",
    endsIt: true,
    async attack(url) {
      const connection = await RawHttp2.open(url);
      await connection.send(frame(frameType.headers, 0, idOf(0), headerBlock({ ":method": "POST" })));
      const more = frame(frameType.continuation, 0, idOf(0), headerBlock(large));
      for (let parts = 0; parts < 20_000 && !connection.closed; parts += 1) await connection.send(more);
      return [connection];
    },
  },
  {
    name: "settings and pings whose acknowledgements are not read",
    endsIt: true,
    async attack(url) {
      const connection = await RawHttp2.open(url);
      connection.stopReading();
      const frames = [settingsFrame({}), frame(frameType.ping, 0, 0, Buffer.alloc(8))];
      for (let parts = 0; parts < 300_000 && !connection.closed; parts += 1) await connection.send(...frames);
      return [connection];
    },
  },
];

test.for(attacks)("$name", { timeout: 120_000 }, async ({ name, attack, endsIt }) => {
  await using service = await startChild(main, { DATABASE_URL: database.url, PORT: "0", LOG_LEVEL: "info" });
  const bystander = new Bystander(service.url);
  await bystander.callTimes(100);
  const beforeMb = residentMb(service.pid);

  const calling = bystander.callUntilStopped();
  let peakMb = 0;
  const watch = setInterval(() => {
    peakMb = Math.max(peakMb, residentMb(service.pid));
  }, 20);
  const connections = await attack(service.url);
  await sleep(2_000);
  clearInterval(watch);
  const closed = connections.filter((connection) => connection.closed).length;
  for (const connection of connections) connection.close();
  const slowestMs = await bystander.stop(calling);

  report(
    `  ${name}: ${Math.round(beforeMb)} MB before, at most ${Math.round(peakMb)} MB; hung up on ${closed} of ` +
      `${connections.length} connections; a bystander waited ${Math.round(slowestMs)} ms at most`,
  );
  expect(peakMb - beforeMb).toBeLessThan(maxGrowthMb);
  expect(closed).toBe(endsIt ? connections.length : 0);
});

/** Somebody else, who calls over a connection of their own, and gets every answer. */
class Bystander {
  readonly #client;
  #stopped = false;
  #slowestMs = 0;

  constructor(url: string) {
    this.#client = grpcClient(url);
  }

  async callTimes(times: number): Promise<void> {
    for (let call = 0; call < times; call += 1) await this.#call();
  }

  async callUntilStopped(): Promise<void> {
    while (!this.#stopped) {
      const start = performance.now();
      await this.#call();
      this.#slowestMs = Math.max(this.#slowestMs, performance.now() - start);
      await sleep(5);
    }
  }

  /** @returns how long the slowest call took, in milliseconds */
  async stop(calling: Promise<void>): Promise<number> {
    this.#stopped = true;
    await calling;
    return this.#slowestMs;
  }

  async #call(): Promise<void> {
    const entry = { requestId: randomUUID(), userId: "bystander", wordCount: 1 };
    await this.#client.createEntry(entry, { timeoutMs: 20_000 });
  }
}

function openMany(url: string, count: number): Promise<RawHttp2[]> {
  return Promise.all(Array.from({ length: count }, () => RawHttp2.open(url)));
}

/** Calls that promise 4 MiB each, and send a little less. */
async function sendUnfinished(url: string, method: string): Promise<RawHttp2[]> {
  const connection = await RawHttp2.open(url);
  const calls = 512 * scale;
  const promised = Buffer.from([0, 0, 0x40, 0, 0]);
  const part = Buffer.alloc(16_384);
  for (let call = 0; call < calls; call += 1) {
    await connection.send(headersOf(method, call), frame(frameType.data, 0, idOf(call), promised));
  }
  for (let parts = 0; parts < 255; parts += 1) {
    for (let call = 0; call < calls && !connection.closed; call += 1) {
      await connection.send(frame(frameType.data, 0, idOf(call), part));
    }
  }
  return [connection];
}

/** The summaries of more than a year by hours, which the service remembers after the first one: about 200 kB each. */
async function askForLargeAnswers(connection: RawHttp2): Promise<void> {
  const request = create(GetSummaryRequestSchema, {
    userId: "bystander",
    granularity: Granularity.HOUR,
    from: { seconds: 1_600_000_000n },
    to: { seconds: 1_600_000_000n + 9_998n * 3_600n },
  });
  const message = toBinary(GetSummaryRequestSchema, request);
  const body = Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message]);
  for (let call = 0; call < maxStreams; call += 1) {
    await connection.send(
      headersOf("GetSummary", call),
      frame(frameType.data, flag.endStream, idOf(call), body),
    );
  }
}

/** Close to as many as are taken. */
const large = Object.fromEntries(Array.from({ length: 15 }, (_, index) => [`x-${index}`, "v".repeat(1_000)]));

function headersOf(method: string, call: number, more: Readonly<Record<string, string>> = {}): Buffer {
  const block = headerBlock({
    ":method": "POST",
    ":scheme": "http",
    ":authority": "localhost",
    ":path": `/dailyaggregator.v1.LearningLogService/${method}`,
    "content-type": "application/grpc",
    te: "trailers",
    ...more,
  });
  return frame(frameType.headers, flag.endHeaders, idOf(call), block);
}

/** The streams of a client have odd numbers. */
function idOf(call: number): number {
  return 2 * call + 1;
}

function residentMb(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kilobytes) / 1024;
}

import { setTimeout as sleep } from "node:timers/promises";
import { create, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { GetSummaryRequestSchema, Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { frame, frameType, headerBlock, initialWindowSize, settingsFrame } from "../support/http2-frames.ts";
import { residentMb, watchMemory } from "../support/memory.ts";
import { startServiceProcess } from "../support/service-process.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { besideBystander } from "./beside-bystander.ts";
import { type Excuse, isBusy } from "./bystander.ts";
import { isLongForm, report } from "./fault-run.ts";
import { leave, visibleWaysToLeave } from "./leave.ts";
import { envelopeHead, RawHttp2 } from "./raw-http2.ts";

// Clients misuse HTTP/2. The memory that this costs the service stays bounded, and other clients are served.

const database = useTestDatabase();

/** The short form runs a quarter of each attack. */
const scale = isLongForm ? 1 : 0.25;

/** The most concurrent streams that the service allows on a connection. */
const maxStreams = 1024;

/** The most memory that an attack may add to the service, in MB. */
const maxGrowthMb = 400;

interface Attack {
  readonly name: string;
  /** @returns the connections that it used */
  attack(url: string): Promise<RawHttp2[]>;
  /** Whether the service is expected to close these connections. */
  readonly expectsClose: boolean;
  /** The errors and waits that the attack may cause for a bystander. Default: none. */
  readonly excuse?: Excuse;
}

const attacks: readonly Attack[] = [
  {
    name: "calls that it cancels at once",
    expectsClose: true,
    // A connection may cancel ten thousand calls at once. They keep the service busy for a second, or for several
    // seconds on a busy machine. Calls that need a new database connection meanwhile may be rejected.
    excuse: { waitMs: 15_000, errors: isBusy },
    async attack(url) {
      const connections = await openMany(url, 4 * scale);
      await Promise.all(
        connections.map(async (connection) => {
          for (let call = 0; call < 100_000 && !connection.closed; call += 1) {
            const id = await connection.call("GetSummary");
            await connection.send(frame(frameType.reset, 0, id, Buffer.from([0, 0, 0, 8])));
          }
        }),
      );
      return connections;
    },
  },
  {
    name: "thousands of calls without their messages",
    expectsClose: false,
    async attack(url) {
      const connections = await openMany(url, 20 * scale);
      for (const connection of connections) {
        for (let call = 0; call < maxStreams; call += 1) await connection.call("CreateEntry");
      }
      return connections;
    },
  },
  {
    name: "more concurrent calls than a connection may have",
    expectsClose: true,
    async attack(url) {
      const connection = await RawHttp2.open(url);
      for (let call = 0; call < 50 * maxStreams * scale && !connection.closed; call += 1) {
        await connection.call("CreateEntry");
      }
      return [connection];
    },
  },
  {
    name: "large messages that never end",
    expectsClose: false,
    async attack(url) {
      const connection = await RawHttp2.open(url);
      const calls = 512 * scale;
      const part = Buffer.alloc(16_384);
      for (let call = 0; call < calls; call += 1) {
        const id = await connection.call("CreateEntry");
        await connection.send(frame(frameType.data, 0, id, envelopeHead(4 * 1024 * 1024)));
      }
      for (let parts = 0; parts < 255; parts += 1) {
        for (const id of connection.streams) {
          if (!connection.closed) await connection.send(frame(frameType.data, 0, id, part));
        }
      }
      return [connection];
    },
  },
  {
    name: "a body that never ends",
    expectsClose: false,
    async attack(url) {
      const connection = await RawHttp2.open(url);
      const id = await connection.call("CreateEntry");
      const part = frame(frameType.data, 0, id, Buffer.alloc(16_384));
      for (let parts = 0; parts < 50_000 * scale && !connection.closed; parts += 1)
        await connection.send(part);
      return [connection];
    },
  },
  {
    name: "a body of empty frames",
    expectsClose: true,
    async attack(url) {
      const connection = await RawHttp2.open(url);
      const id = await connection.call("CreateEntry");
      const nothing = Buffer.concat(Array.from({ length: 100 }, () => frame(frameType.data, 0, id)));
      for (let parts = 0; parts < 20_000 && !connection.closed; parts += 1) await connection.send(nothing);
      return [connection];
    },
  },
  {
    name: "calls whose answers have a flow-control window of 0 bytes",
    expectsClose: false,
    async attack(url) {
      const connection = await RawHttp2.open(url, { [initialWindowSize]: 0 });
      await askForLargeAnswers(connection);
      return [connection];
    },
  },
  {
    name: "calls whose answers it does not read",
    expectsClose: false,
    async attack(url) {
      const connection = await RawHttp2.open(url, { [initialWindowSize]: 2 ** 31 - 1 });
      connection.stopReading();
      await askForLargeAnswers(connection);
      return [connection];
    },
  },
  {
    name: "large headers with every call",
    expectsClose: true,
    async attack(url) {
      const connection = await RawHttp2.open(url);
      for (let call = 0; call < maxStreams; call += 1) await connection.call("CreateEntry", undefined, large);
      // By now, Node has no memory left for large headers. Small ones use up the rest. After a hundred refused
      // streams, Node closes the connection.
      for (let call = maxStreams; call < maxStreams + 400 && !connection.closed; call += 1)
        await connection.call("CreateEntry");
      return [connection];
    },
  },
  {
    name: "headers that never end",
    expectsClose: true,
    async attack(url) {
      const connection = await RawHttp2.open(url);
      await connection.send(frame(frameType.headers, 0, 1, headerBlock({ ":method": "POST" })));
      const more = frame(frameType.continuation, 0, 1, headerBlock(large));
      for (let parts = 0; parts < 20_000 && !connection.closed; parts += 1) await connection.send(more);
      return [connection];
    },
  },
  {
    name: "settings and pings whose acknowledgements it does not read",
    expectsClose: true,
    async attack(url) {
      const connection = await RawHttp2.open(url);
      connection.stopReading();
      const frames = [settingsFrame({}), frame(frameType.ping, 0, 0, Buffer.alloc(8))];
      for (let parts = 0; parts < 300_000 && !connection.closed; parts += 1) await connection.send(...frames);
      return [connection];
    },
  },
];

test.for(attacks.map((attack, index) => ({ ...attack, index })))(
  "other clients are served, and memory stays bounded, while a client sends $name",
  { timeout: 120_000 },
  async ({ name, attack, expectsClose, index, excuse = {} }) => {
    await using service = await startServiceProcess({ DATABASE_URL: database.url });
    // V8 does not shrink a heap at once after it has grown.
    const scenario = { services: [service], databaseUrl: database.url, maxGrowthMb };
    await besideBystander(scenario, async (bystander) => {
      using _ = bystander.excuse(excuse);
      const beforeMb = await residentMb(service.pid);
      const memory = watchMemory(service.pid, 20);
      const connections = await attack(service.url);
      await sleep(isLongForm ? 2_000 : 1_000);
      const peakMb = Math.max(...memory.end());
      const closed = connections.filter((connection) => connection.closed).length;
      for (const [number, connection] of connections.entries()) {
        const way = visibleWaysToLeave[(index + number) % visibleWaysToLeave.length] ?? "by FIN";
        await leave(connection, way);
        // RST_STREAM cancels only the calls.
        if (way === "by RST_STREAM") connection.close();
      }

      report(
        `  ${name}: ${Math.round(beforeMb)} MB before, at most ${Math.round(peakMb)} MB; ` +
          `the service closed ${closed} of ${connections.length} connections`,
      );
      expect(peakMb - beforeMb).toBeLessThan(maxGrowthMb);
      expect(closed).toBe(expectsClose ? connections.length : 0);
    });
  },
);

function openMany(url: string, count: number): Promise<RawHttp2[]> {
  return Promise.all(Array.from({ length: count }, () => RawHttp2.open(url)));
}

/** Requests the same summary of more than a year by hour in every call. It is memoized, and takes about 200 kB. */
async function askForLargeAnswers(connection: RawHttp2): Promise<void> {
  const request = create(GetSummaryRequestSchema, {
    userId: "somebody",
    granularity: Granularity.HOUR,
    from: { seconds: 1_600_000_000n },
    to: { seconds: 1_600_000_000n + 9_998n * 3_600n },
  });
  const message = toBinary(GetSummaryRequestSchema, request);
  for (let call = 0; call < maxStreams; call += 1) await connection.call("GetSummary", message);
}

/** Headers of nearly the largest size that Node accepts. */
const large = Object.fromEntries(Array.from({ length: 15 }, (_, index) => [`x-${index}`, "v".repeat(1_000)]));

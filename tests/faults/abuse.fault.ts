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

// Peers that misuse HTTP/2 find a bound to the memory that they can take, and others are served meanwhile.

const database = useTestDatabase();

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
  /** What it costs a bystander; nothing if left out. */
  readonly excuse?: Excuse;
}

const attacks: readonly Attack[] = [
  {
    name: "calls that are cancelled at once",
    endsIt: true,
    // Each connection may cancel ten thousand calls at once, which take the service a second or, on a busy machine,
    // several. Whoever needs a new connection to the database meanwhile may be told to come again.
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
    name: "thousands of calls that never go on",
    endsIt: false,
    async attack(url) {
      const connections = await openMany(url, 20 * scale);
      for (const connection of connections) {
        for (let call = 0; call < maxStreams; call += 1) await connection.call("CreateEntry");
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
        await connection.call("CreateEntry");
      }
      return [connection];
    },
  },
  {
    name: "large messages that never end",
    endsIt: false,
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
    endsIt: false,
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
    name: "a body of nothing but empty frames",
    endsIt: true,
    async attack(url) {
      const connection = await RawHttp2.open(url);
      const id = await connection.call("CreateEntry");
      const nothing = Buffer.concat(Array.from({ length: 100 }, () => frame(frameType.data, 0, id)));
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
      for (let call = 0; call < maxStreams; call += 1) await connection.call("CreateEntry", undefined, large);
      // By then headers as large find no room. Small ones fill up what is left; after a hundred refusals Node hangs up.
      for (let call = maxStreams; call < maxStreams + 400 && !connection.closed; call += 1)
        await connection.call("CreateEntry");
      return [connection];
    },
  },
  {
    name: "headers that never end",
    endsIt: true,
    async attack(url) {
      const connection = await RawHttp2.open(url);
      await connection.send(frame(frameType.headers, 0, 1, headerBlock({ ":method": "POST" })));
      const more = frame(frameType.continuation, 0, 1, headerBlock(large));
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

test.for(attacks.map((attack, index) => ({ ...attack, index })))(
  "$name",
  { timeout: 120_000 },
  async ({ name, attack, endsIt, index, excuse = {} }) => {
    await using service = await startServiceProcess({ DATABASE_URL: database.url });
    // What a heap grows to is not at once what it comes back from.
    const company = { services: [service], databaseUrl: database.url, maxGrowthMb };
    await besideBystander(company, async (bystander) => {
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
        // Whoever only takes back their calls goes later.
        if (way === "by RST_STREAM") connection.close();
      }

      report(
        `  ${name}: ${Math.round(beforeMb)} MB before, at most ${Math.round(peakMb)} MB; ` +
          `hung up on ${closed} of ${connections.length} connections`,
      );
      expect(peakMb - beforeMb).toBeLessThan(maxGrowthMb);
      expect(closed).toBe(endsIt ? connections.length : 0);
    });
  },
);

function openMany(url: string, count: number): Promise<RawHttp2[]> {
  return Promise.all(Array.from({ length: count }, () => RawHttp2.open(url)));
}

/** The summaries of more than a year by hours, which the service remembers after the first one: about 200 kB each. */
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

/** Close to as many as are taken. */
const large = Object.fromEntries(Array.from({ length: 15 }, (_, index) => [`x-${index}`, "v".repeat(1_000)]));

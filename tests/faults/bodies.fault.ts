import { connect } from "node:http2";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { frame, frameType } from "../support/http2-frames.ts";
import { residentMb, watchMemory } from "../support/memory.ts";
import { startServiceProcess } from "../support/service-process.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { besideBystander } from "./beside-bystander.ts";
import { isLongForm, report } from "./fault-run.ts";
import { leave } from "./leave.ts";
import { envelopeHead, RawHttp2 } from "./raw-http2.ts";

// Clients send large and slow bodies, in streams and unary calls. The time and the memory that this costs the service
// stay bounded, and other clients are served.

const database = useTestDatabase();
const messageBytes = 4 * 1024 * 1024;

/** The most memory that a connection may add to the service, in MB. */
const maxGrowthMb = 400;

/** The short form skips the unary method, because abuse.fault.ts sends bodies to another one. */
const methods = isLongForm ? ["ImportEntries", "BatchCreateEntries"] : ["ImportEntries"];

test.for(methods)(
  "other clients are served during a message of %s in frames of one byte",
  { timeout: 120_000 },
  async (method) => {
    await using service = await startServiceProcess({ DATABASE_URL: database.url });
    await besideBystander({ services: [service], databaseUrl: database.url }, async () => {
      const connection = await RawHttp2.open(service.url);
      const id = await connection.call(method);
      await connection.send(frame(frameType.data, 0, id, envelopeHead(messageBytes)));
      const frames = isLongForm ? 400_000 : 200_000;
      const thousandFrames = Buffer.concat(
        Array.from({ length: 1_000 }, () => frame(frameType.data, 0, id, Buffer.alloc(1))),
      );
      for (let sent = 0; sent < frames && !connection.closed; sent += 1_000)
        await connection.send(thousandFrames);
      // Let the service process the frames in transit before the client disconnects.
      await sleep(2_000);
      await leave(connection, "by FIN");
    });
  },
);

test.for(methods)(
  "other clients are served, and memory stays bounded, during 200 incomplete messages of %s",
  { timeout: 120_000 },
  async (method) => {
    await using service = await startServiceProcess({ DATABASE_URL: database.url });
    const scenario = { services: [service], databaseUrl: database.url, maxGrowthMb };
    await besideBystander(scenario, async () => {
      const beforeMb = await residentMb(service.pid);
      const memory = watchMemory(service.pid, 20);
      // This client obeys flow control: it sends no more than the service reads.
      const session = connect(service.url);
      session.on("error", () => {});
      const rest = Buffer.alloc(messageBytes - 1);
      for (let call = 0; call < 200; call += 1) {
        const stream = session.request({
          ":method": "POST",
          ":path": `/dailyaggregator.v1.LearningLogService/${method}`,
          "content-type": "application/grpc",
          te: "trailers",
        });
        stream.on("error", () => {});
        stream.write(envelopeHead(messageBytes));
        stream.write(rest);
      }
      await sleep(isLongForm ? 10_000 : 3_000);
      const peakMb = Math.max(...memory.end());
      session.destroy();
      report(`  ${method}: ${Math.round(beforeMb)} MB before, at most ${Math.round(peakMb)} MB`);
      expect(peakMb - beforeMb, "additional MB of memory").toBeLessThan(maxGrowthMb);
    });
  },
);

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

// The bodies of streams find a bound to the time and the memory that they can take, as those of unary calls do, and
// others are served meanwhile.

const database = useTestDatabase();
const messageBytes = 4 * 1024 * 1024;

/** What the service may grow by, in MB, whatever one connection sends. */
const maxGrowthMb = 400;

/** The short form leaves the unary one to the attacks on memory. */
const methods = isLongForm ? ["ImportEntries", "BatchCreateEntries"] : ["ImportEntries"];

test.for(methods)("a message of %s in frames of one byte", { timeout: 120_000 }, async (method) => {
  await using service = await startServiceProcess({ DATABASE_URL: database.url });
  await besideBystander({ services: [service], databaseUrl: database.url }, async () => {
    const connection = await RawHttp2.open(service.url);
    const id = await connection.call(method);
    await connection.send(frame(frameType.data, 0, id, envelopeHead(messageBytes)));
    const frames = isLongForm ? 400_000 : 200_000;
    const some = Buffer.concat(
      Array.from({ length: 1_000 }, () => frame(frameType.data, 0, id, Buffer.alloc(1))),
    );
    for (let sent = 0; sent < frames && !connection.closed; sent += 1_000) await connection.send(some);
    // It has to get through what is on its way, before whoever sent it goes.
    await sleep(2_000);
    await leave(connection, "by FIN");
  });
});

test.for(methods)("200 messages of %s that never end", { timeout: 120_000 }, async (method) => {
  await using service = await startServiceProcess({ DATABASE_URL: database.url });
  const company = { services: [service], databaseUrl: database.url, maxGrowthMb };
  await besideBystander(company, async () => {
    const beforeMb = await residentMb(service.pid);
    const memory = watchMemory(service.pid, 20);
    // A client that keeps to the windows: what is not read it does not send.
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
    expect(peakMb - beforeMb, "MB more").toBeLessThan(maxGrowthMb);
  });
});

import { gzipSync } from "node:zlib";
import { encodeEnvelope } from "@connectrpc/connect/protocol";
import { expect, test } from "vitest";
import { askHttp1, askHttp2 } from "../support/plain-requests.ts";
import { useTestService } from "../support/test-service.ts";

// A body that is not a valid message is rejected with INVALID_ARGUMENT, because its sender caused the error.

const service = useTestService();
const log = "/dailyaggregator.v1.LearningLogService";

const garbage = {
  "a truncated field": Buffer.of(0x0a, 0x7f, 0x01),
  "an invalid tag": Buffer.of(0x07),
  "a string that is not UTF-8": Buffer.of(0x0a, 0x02, 0xc3, 0x28),
};

test.for(Object.entries(garbage))("%s gets INVALID_ARGUMENT over every protocol", async ([, message]) => {
  const enveloped = [encodeEnvelope(0, message)];
  const compressed = [encodeEnvelope(1, gzipSync(message))];
  for (const path of [
    `${log}/CreateEntry`,
    `${log}/GetSummary`,
    `${log}/WatchSummary`,
    `${log}/ImportEntries`,
  ]) {
    const isStream = path.endsWith("WatchSummary") || path.endsWith("ImportEntries");
    for (const ask of path.endsWith("ImportEntries") ? [askHttp2] : [askHttp1, askHttp2]) {
      const gzip = { "grpc-encoding": "gzip" };
      for (const [headers, body] of [
        [{}, enveloped],
        [gzip, compressed],
      ] as const) {
        const grpc = { "content-type": "application/grpc", te: "trailers", ...headers };
        const { trailers } = await ask(service.url, { path, headers: grpc, body });
        expect(trailers).toMatchObject({ "grpc-status": "3" });
        const grpcWeb = { "content-type": "application/grpc-web", ...headers };
        const answer = await ask(service.url, { path, headers: grpcWeb, body });
        expect(String(answer.body)).toContain("grpc-status: 3\r\n");
      }
      if (isStream) {
        const headers = { "content-type": "application/connect+proto" };
        const answer = await ask(service.url, { path, headers, body: enveloped });
        expect(String(answer.body)).toContain('"invalid_argument"');
      } else {
        const headers = { "content-type": "application/proto" };
        const answer = await ask(service.url, { path, headers, body: [message] });
        expect(answer.status).toBe(400);
        expect(JSON.parse(String(answer.body))).toMatchObject({ code: "invalid_argument" });
      }
    }
  }
});

test.for([
  ["an invalid message", `encoding=proto&base64=1&message=${Buffer.of(0x07).toString("base64url")}`],
  ["invalid base64", "encoding=proto&base64=1&message=*"],
  ["invalid base64 for a message in JSON", "encoding=json&base64=1&message=*"],
])("%s in a URL gets INVALID_ARGUMENT", async ([, query]) => {
  for (const ask of [askHttp1, askHttp2]) {
    const answer = await ask(service.url, { method: "GET", path: `${log}/GetSummary?connect=v1&${query}` });
    expect(answer.status).toBe(400);
    expect(JSON.parse(String(answer.body))).toMatchObject({ code: "invalid_argument" });
  }
});

import { gzipSync } from "node:zlib";
import { encodeEnvelope } from "@connectrpc/connect/protocol";
import { expect, test } from "vitest";
import { askHttp1, askHttp2 } from "../support/plain-requests.ts";
import { useTestService } from "../support/test-service.ts";

// A body that is no message is its sender's fault, over each protocol.

const service = useTestService();
const log = "/dailyaggregator.v1.LearningLogService";

const garbage = {
  "a field that is cut off": Buffer.of(0x0a, 0x7f, 0x01),
  "a tag that is none": Buffer.of(0x07),
  "a text that is no UTF-8": Buffer.of(0x0a, 0x02, 0xc3, 0x28),
};

test.for(Object.entries(garbage))("%s is INVALID_ARGUMENT over each protocol", async ([, message]) => {
  const enveloped = [encodeEnvelope(0, message)];
  const packed = [encodeEnvelope(1, gzipSync(message))];
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
        [gzip, packed],
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
  ["a message that is none", `encoding=proto&base64=1&message=${Buffer.of(0x07).toString("base64url")}`],
  ["base64 that is none", "encoding=proto&base64=1&message=*"],
  ["base64 that is none, for JSON", "encoding=json&base64=1&message=*"],
])("%s in a URL is INVALID_ARGUMENT", async ([, query]) => {
  for (const ask of [askHttp1, askHttp2]) {
    const answer = await ask(service.url, { method: "GET", path: `${log}/GetSummary?connect=v1&${query}` });
    expect(answer.status).toBe(400);
    expect(JSON.parse(String(answer.body))).toMatchObject({ code: "invalid_argument" });
  }
});

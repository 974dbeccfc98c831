import http2 from "node:http2";
import { text } from "node:stream/consumers";
import { describe, expect, onTestFinished, test } from "vitest";
import { unaryPaths } from "../../src/config.ts";
import { useTestService } from "../support/test-service.ts";

// What a person sees with curl or a browser, without a client library.

const learningLog = "/dailyaggregator.v1.LearningLogService";
const json = { "content-type": "application/json" };

describe.for(unaryPaths)("with the unary path %s", (unaryPath) => {
  const service = useTestService({ unaryPath });

  test.for([
    [
      "a POST without a known Content-Type",
      "CreateEntry",
      { method: "POST", body: "{}" },
      415,
      contentTypeHint(""),
    ],
    [
      "a POST of a stream with the content type of a unary call",
      "WatchSummary",
      { method: "POST", body: "{}", headers: json },
      415,
      contentTypeHint("connect+"),
    ],
    [
      "a GET of a method that writes",
      "CreateEntry",
      {},
      405,
      /^This is a method.* by POST, .* curl .*CreateEntry$/,
    ],
    ["a GET of a stream", "WatchSummary", {}, 405, /^This is a method.* by POST, with a client for Connect/],
    ["a GET without a message", "GetSummary", {}, 415, /needs two parameters: "encoding".* and "message"/],
    [
      "a PUT",
      "GetSummary",
      { method: "PUT", body: "{}", headers: json },
      405,
      /^This .* by POST or GET, .* curl /,
    ],
    [
      "a bidirectional stream over HTTP/1.1",
      "ImportEntries",
      { method: "POST", headers: json },
      505,
      /^This method needs HTTP\/2/,
    ],
  ] as const)("%s gets a line of text that explains the error", async ([, method, request, status, line]) => {
    const response = await fetch(`${service.url}${learningLog}/${method}`, request);
    expect(response.status).toBe(status);
    expect(response.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    expect((await response.text()).replace(/\n$/, "")).toMatch(line);
  });

  test("the answer to a wrong HTTP method lists the valid methods in the header Allow", async () => {
    const response = await fetch(`${service.url}${learningLog}/GetSummary`, { method: "PUT" });
    expect(response.headers.get("allow")).toBe("POST, GET");
  });

  test("a POST without a known Content-Type is answered with a line of text over HTTP/2, too", async () => {
    const session = http2.connect(service.url);
    onTestFinished(() => session.destroy());
    const stream = session.request({ ":path": `${learningLog}/CreateEntry`, ":method": "POST" });
    stream.end("{}");
    await expect(text(stream)).resolves.toMatch(/^The header Content-Type must be application\/json, .*\n$/);
  });

  test("a HEAD of a method is answered with the headers and without the text", async () => {
    const response = await fetch(`${service.url}${learningLog}/CreateEntry`, { method: "HEAD" });
    expect(response.status).toBe(405);
    expect(response.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    await expect(response.text()).resolves.toBe("");
  });

  test("the page at / names the service, its API, its documentation and its health check", async () => {
    const response = await fetch(service.url);
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    const page = await response.text();
    for (const word of ["Daily Aggregator", learningLog, "README.md", "/healthz"])
      expect(page).toContain(word);
  });
});

function contentTypeHint(prefix: string): RegExp {
  return new RegExp(
    `^The header Content-Type must be application/${prefix}json, application/${prefix}proto, application/grpc or `.replaceAll(
      "+",
      "\\+",
    ),
  );
}

import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { Code } from "@connectrpc/connect";
import { type Browser, chromium } from "playwright-core";
import { build } from "vite";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { startOwnService } from "../support/own-service.ts";
import { useTestDatabase } from "../support/test-database.ts";
import type { PageReport } from "./page.ts";

// A page of another origin, in a real browser: Chromium, where there is one.

declare global {
  // The page puts it there.
  var useService: (baseUrl: string, transport: string, userId: string) => Promise<PageReport>;
}

vi.setConfig({ testTimeout: 60_000 });

const executablePath = findChromium();

describe.skipIf(executablePath === undefined)("a page in a browser, over", () => {
  const database = useTestDatabase();
  let browser: Browser | undefined;
  const { promise: origin, resolve: serve } = Promise.withResolvers<string>();
  const server = createServer();

  beforeAll(async () => {
    const script = await bundlePage();
    server.on("request", (request, response) => {
      const isScript = request.url === "/page.js";
      response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
      response.end(isScript ? script : '<!doctype html><script type="module" src="/page.js"></script>');
    });
    server.listen(0, "127.0.0.1", () => {
      // A server that listens on a port has an address.
      serve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    });
    browser = await chromium.launch({
      ...(executablePath !== undefined && { executablePath }),
      // The sandbox does not start for root; nothing is to be asked for on the network.
      args: ["--no-sandbox", "--disable-background-networking", "--disable-component-update"],
    });
  });
  afterAll(async () => {
    await browser?.close();
    server.close();
  });

  test.for(["Connect", "Connect with GET", "gRPC-Web"])(
    "%s: writes, is told of a retry, reads, and watches",
    async (transport) => {
      const service = await startOwnService(database.url, { corsOrigins: [await origin] });
      const page = await browser?.newPage();
      await page?.goto(await origin);
      await page?.waitForFunction(() => "useService" in globalThis);
      const report = await page?.evaluate(([url, name, userId]) => globalThis.useService(url, name, userId), [
        service.url,
        transport,
        randomUUID(),
      ] as const);
      expect(report).toEqual({
        totals: ["0", "25"],
        watched: ["0", "25"],
        retryCode: Code.AlreadyExists,
      });
    },
  );
});

/** The page with its imports, as one script. */
async function bundlePage(): Promise<string> {
  const output = await build({
    configFile: false,
    logLevel: "error",
    build: {
      write: false,
      target: "esnext",
      lib: { entry: path.join(import.meta.dirname, "page.ts"), formats: ["es"] },
    },
  });
  const [bundle] = Array.isArray(output) ? output : [output];
  const chunk = bundle && "output" in bundle ? bundle.output[0] : undefined;
  if (chunk === undefined) throw new Error("the page was not bundled");
  return chunk.code;
}

/** The CHROMIUM of the environment, or one on the path. */
function findChromium(): string | undefined {
  const names = ["chromium", "chromium-browser", "google-chrome"];
  const folders = process.env.PATH?.split(path.delimiter) ?? [];
  const candidates = folders.flatMap((folder) => names.map((name) => path.join(folder, name)));
  return process.env.CHROMIUM ?? candidates.find((candidate) => existsSync(candidate));
}

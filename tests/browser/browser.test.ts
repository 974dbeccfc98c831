import { randomUUID } from "node:crypto";
import path from "node:path";
import { Code } from "@connectrpc/connect";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { useTestDatabase } from "../support/test-database.ts";
import { startOwnService } from "../support/test-service.ts";
import { bundle, findChromium, launchChromium, servePage } from "./chromium.ts";
import type { PageReport } from "./page.ts";

// A page of another origin calls the service from Chromium. The tests are skipped if Chromium is not installed.

declare global {
  // Defined by the page.
  var useService: (baseUrl: string, transport: string, userId: string) => Promise<PageReport>;
}

vi.setConfig({ testTimeout: 60_000 });

describe.skipIf(findChromium() === undefined)("a page in a browser", () => {
  const database = useTestDatabase();
  let browser: Browser | undefined;
  let served: Awaited<ReturnType<typeof servePage>> | undefined;

  beforeAll(async () => {
    served = await servePage(await bundle(path.join(import.meta.dirname, "page.ts")));
    browser = await launchChromium();
  });
  afterAll(async () => {
    await browser?.close();
    await served?.[Symbol.asyncDispose]();
  });

  test.for(["Connect", "Connect with GET", "gRPC-Web"])(
    "writes and retries an entry, and reads and watches a summary over %s",
    async (transport) => {
      const { origin = "" } = served ?? {};
      const service = await startOwnService(database.url, { corsOrigins: [origin] });
      const page = await browser?.newPage();
      await page?.goto(origin);
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

import { readFile } from "node:fs/promises";
import path from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { aggregatesOf } from "../support/aggregates.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { startOwnService } from "../support/test-service.ts";
import { bundle, findChromium, launchChromium, servePage } from "./chromium.ts";

vi.setConfig({ testTimeout: 60_000 });

const database = useTestDatabase();
const root = path.join(import.meta.dirname, "../..");

test.skipIf(findChromium() === undefined)(
  "the page in docs/idempotency.md records its entry if CORS_ORIGINS contains the page's origin",
  async () => {
    // The script needs the URL of the service, and the service needs the page's origin. So the page is served first.
    const script = Promise.withResolvers<string>();
    const page = await servePage(script.promise);
    onTestFinished(() => page[Symbol.asyncDispose]());
    const service = await startOwnService(database.url, { corsOrigins: [page.origin] });
    script.resolve(await bundleExample(service.url));

    const browser = await launchChromium();
    onTestFinished(() => browser.close());
    const tab = await browser.newPage();
    const failure = new Promise<never>((_, reject) => tab.on("pageerror", reject));
    await tab.goto(page.origin);
    await Promise.race([failure, tab.waitForFunction('document.title === "recorded"')]);
    expect(await aggregatesOf(database.pool, "ada")).toEqual({ words: 120, entries: 1, rows: 1 });
  },
);

/** Bundles the example in the document, with the URL of the service. At its end, it sets the title of the page. */
async function bundleExample(serviceUrl: string): Promise<string> {
  const text = await readFile(path.join(root, "docs/idempotency.md"), "utf8");
  const example = /^```ts\n(.*?)^```$/ms.exec(text)?.[1] ?? "";
  const code = `${example.replace("http://127.0.0.1:8080", serviceUrl)}\ndocument.title = "recorded";`;
  const file = path.join(root, "example.ts");
  return bundle(file, [
    {
      name: "example",
      resolveId: (id) => (id === file ? file : undefined),
      load: (id) => (id === file ? code : undefined),
    },
  ]);
}

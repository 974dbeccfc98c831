import { existsSync } from "node:fs";
import { createServer } from "node:http";
import path from "node:path";
import { type Browser, chromium } from "playwright-core";
import { build, type Plugin } from "vite";
import { listenOnFreePort } from "../support/free-port.ts";

/**
 * Finds Chromium by the environment variable CHROMIUM, or in the PATH.
 *
 * @returns the path of the program; undefined if there is none
 */
export function findChromium(): string | undefined {
  const names = ["chromium", "chromium-browser", "google-chrome"];
  const folders = process.env.PATH?.split(path.delimiter) ?? [];
  const candidates = folders.flatMap((folder) => names.map((name) => path.join(folder, name)));
  return process.env.CHROMIUM ?? candidates.find((candidate) => existsSync(candidate));
}

export function launchChromium(): Promise<Browser> {
  const executablePath = findChromium();
  return chromium.launch({
    ...(executablePath !== undefined && { executablePath }),
    // The sandbox does not start for root. The other switches prevent Chromium's own network requests.
    args: ["--no-sandbox", "--disable-background-networking", "--disable-component-update"],
  });
}

/** Serves a page that consists of a script, on a free port. */
export async function servePage(
  script: string | Promise<string>,
): Promise<{ readonly origin: string } & AsyncDisposable> {
  const server = createServer(async (request, response) => {
    const isScript = request.url === "/page.js";
    response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
    response.end(isScript ? await script : '<!doctype html><script type="module" src="/page.js"></script>');
  });
  const port = await listenOnFreePort(server);
  return { origin: `http://127.0.0.1:${port}`, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

/** Bundles a file and its imports into one script. */
export async function bundle(entry: string, plugins: Plugin[] = []): Promise<string> {
  const output = await build({
    configFile: false,
    logLevel: "error",
    plugins,
    build: { write: false, target: "esnext", lib: { entry, formats: ["es"] } },
  });
  const [bundled] = Array.isArray(output) ? output : [output];
  const chunk = bundled && "output" in bundled ? bundled.output[0] : undefined;
  if (chunk === undefined) throw new Error("the page was not bundled");
  return chunk.code;
}

import { existsSync } from "node:fs";
import { createServer } from "node:http";
import path from "node:path";
import { type Browser, chromium } from "playwright-core";
import { build, type Plugin } from "vite";
import { listenOnFreePort } from "../support/free-port.ts";

/** The CHROMIUM of the environment, or one on the path. */
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
    // The sandbox does not start for root; nothing is to be asked for on the network.
    args: ["--no-sandbox", "--disable-background-networking", "--disable-component-update"],
  });
}

/** Serves a page that is nothing but a script, on a port of its own. */
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

/** A file with its imports, as one script. */
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

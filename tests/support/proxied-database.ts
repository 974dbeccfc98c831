import { onTestFinished } from "vitest";
import { TcpProxy } from "./tcp-proxy.ts";

/** The way to a database, which can be lost and found again, until the test finishes. */
export async function proxyDatabase(databaseUrl: string): Promise<{ proxy: TcpProxy; url: string }> {
  const url = new URL(databaseUrl);
  const proxy = await TcpProxy.start({ host: url.hostname, port: Number(url.port || 5432) });
  onTestFinished(() => proxy.stop());
  url.host = `127.0.0.1:${proxy.port}`;
  return { proxy, url: url.href };
}

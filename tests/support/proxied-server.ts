import { onTestFinished } from "vitest";
import { TcpProxy } from "./tcp-proxy.ts";

/**
 * Starts a proxy in front of a database or a service. It stops when the test finishes.
 *
 * @returns the proxy, and the URL of the server through it
 */
export async function proxyTo(serverUrl: string): Promise<{ proxy: TcpProxy; url: string }> {
  const url = new URL(serverUrl);
  // Only the URL of a database may lack the port.
  const proxy = await TcpProxy.start({ host: url.hostname, port: Number(url.port || 5432) });
  onTestFinished(() => proxy.stop());
  url.host = `127.0.0.1:${proxy.port}`;
  // Clients append the path of a method to the URL.
  return { proxy, url: url.href.replace(/\/$/, "") };
}

import { expect, vi } from "vitest";

/** Waits until `/readyz` answers that the service is ready. After a fault, this takes some seconds. */
export async function waitUntilReady(url: string, timeoutMs = 10_000): Promise<void> {
  await vi.waitFor(
    async () => {
      const answer = await fetch(`${url}/readyz`, { headers: { connection: "close" } });
      expect(await answer.text()).toBe("ready\n");
    },
    { timeout: timeoutMs, interval: 100 },
  );
}

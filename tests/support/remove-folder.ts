import { realpath, rm } from "node:fs/promises";

/** Removes a folder, and what it is a link to: as root, the service's data may be in another place. */
export async function removeFolder(folder: string): Promise<void> {
  const places = new Set([await realpath(folder).catch(() => folder), folder]);
  for (const place of places) await rm(place, { recursive: true, force: true, maxRetries: 10 });
}

import { realpath, rm } from "node:fs/promises";

/** Removes a folder, and its target if it is a link: for a service that runs as root, DATA_DIR may be a link. */
export async function removeFolder(folder: string): Promise<void> {
  const places = new Set([await realpath(folder).catch(() => folder), folder]);
  for (const place of places) await rm(place, { recursive: true, force: true, maxRetries: 10 });
}

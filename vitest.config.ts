import { defineConfig } from "vitest/config";
import { effort, seed } from "./tests/support/random.ts";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    globalSetup: ["tests/support/database-server.ts"],
    // The tests wait for the database and for processes most of the time.
    maxWorkers: 4,
    testTimeout: 30_000 * effort,
    hookTimeout: 60_000,
    // Half of the time that a test has: a busy machine may take seconds for what takes milliseconds.
    expect: { poll: { timeout: 15_000 } },
    sequence: { shuffle: true, seed },
  },
});

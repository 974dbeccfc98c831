import { expect } from "vitest";
import { withConnection } from "../support/connection.ts";
import { Bystander } from "./bystander.ts";
import {
  connectionString,
  countServices,
  expectNothingLeftBehind,
  type WhatIsCounted,
} from "./left-behind.ts";

interface Scenario extends WhatIsCounted {
  /** The longest that the bystander may wait, in milliseconds. By default, only starvation explains a longer wait. */
  readonly waitMs?: number;
}

/**
 * Runs a fault while a bystander uses every instance. The bystander must get its answers in time, and no error that is
 * not excused. Then checks that the clients of the fault have left nothing behind.
 *
 * @param fault resolves when the fault is over and its clients have disconnected
 */
export async function besideBystander(
  scenario: Scenario,
  fault: (bystander: Bystander) => Promise<void>,
): Promise<void> {
  const { services, waitMs } = scenario;
  const before = await countServices(scenario);
  await using bystander = await Bystander.start(
    services.map(({ url }) => url),
    waitMs,
  );
  try {
    await fault(bystander);
  } finally {
    // If an instance has ended, its last lines have the cause of every other failure.
    for (const service of services) expect(service.isRunning, service.lastLines()).toBe(true);
  }
  await withConnection(await connectionString(scenario), (client) => bystander.expectUnharmed(client));
  await expectNothingLeftBehind(scenario, before);
}

import { expect } from "vitest";
import { withConnection } from "../support/connection.ts";
import { Bystander } from "./bystander.ts";
import {
  connectionString,
  countServices,
  expectNothingLeftBehind,
  type WhatIsCounted,
} from "./left-behind.ts";

interface Company extends WhatIsCounted {
  /** How long the bystander may wait for anything; by default a time that only starvation explains. */
  readonly waitMs?: number;
}

/**
 * Lets a fault happen beside a bystander at every instance, who must get everything in time and no error that is not
 * excused; and then counts what those left behind who took part and are gone.
 *
 * @param fault resolves when it is over and its clients are gone
 */
export async function besideBystander(
  company: Company,
  fault: (bystander: Bystander) => Promise<void>,
): Promise<void> {
  const { services, waitMs } = company;
  const before = await countServices(company);
  await using bystander = await Bystander.start(
    services.map(({ url }) => url),
    waitMs,
  );
  try {
    await fault(bystander);
  } finally {
    // Whoever ends tells why; everything else that goes wrong follows from it.
    for (const service of services) expect(service.isRunning, service.lastLines()).toBe(true);
  }
  await withConnection(await connectionString(company), (client) => bystander.expectUnharmed(client));
  await expectNothingLeftBehind(company, before);
}

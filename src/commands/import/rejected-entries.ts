import { Code, type ConnectError } from "@connectrpc/connect";
import { ViolationsSchema } from "#gen/buf/validate/validate_pb.js";
import type { EntryOfLine } from "./to-batches.ts";

/**
 * Finds the entries because of which the service rejected a batch. They passed the checks before sending, but the
 * service's clock may differ, or its rules may be newer.
 *
 * @returns the reason for each of these entries; empty if the error has another cause
 */
export function rejectedEntries(
  error: ConnectError,
  batch: readonly EntryOfLine[] = [],
): Map<EntryOfLine, string> {
  const reasons = new Map<EntryOfLine, string>();
  if (error.code !== Code.InvalidArgument) return reasons;
  const violations = error.findDetails(ViolationsSchema).flatMap((detail) => detail.violations);
  for (const { field, message, ruleId } of violations) {
    // The path of a field is, for example, entries[3].timestamp.
    const [entries, ...path] = field?.elements ?? [];
    if (entries?.fieldName !== "entries" || entries.subscript.case !== "index") continue;
    const refused = batch[Number(entries.subscript.value)];
    if (!refused || reasons.has(refused)) continue;
    const name = path.map(({ fieldName }) => fieldName).join(".");
    reasons.set(refused, `${name}: ${message} [${ruleId}]`);
  }
  return reasons;
}

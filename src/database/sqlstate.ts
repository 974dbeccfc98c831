import pg from "pg";

// Which SQLSTATE means what: https://www.postgresql.org/docs/current/errcodes-appendix.html

/** The statement lost a race against another one, and nothing of it stands: it can be run again. */
export function isContention(error: unknown): boolean {
  return hasCode(error, (code) => code === serializationFailure || code === deadlockDetected);
}

/** A time limit or a cancellation ended the statement. */
export function isQueryCanceled(error: unknown): boolean {
  return hasCode(error, (code) => code === queryCanceled);
}

/** A value is not one that the function takes. */
export function isInvalidParameterValue(error: unknown): boolean {
  return hasCode(error, (code) => code === invalidParameterValue);
}

/** The database cannot serve just now: it is starting, stopping, full, or a standby since a moment ago. */
export function isAway(error: unknown): boolean {
  return hasCode(
    error,
    (code) =>
      code.startsWith(connectionException) ||
      code.startsWith(insufficientResources) ||
      code.startsWith(operatorIntervention) ||
      code === readOnlyTransaction,
  );
}

const serializationFailure = "40001";
const deadlockDetected = "40P01";
const queryCanceled = "57014";
const invalidParameterValue = "22023";
const readOnlyTransaction = "25006";
const connectionException = "08";
const insufficientResources = "53";
const operatorIntervention = "57P";

function hasCode(error: unknown, matches: (code: string) => boolean): boolean {
  return error instanceof pg.DatabaseError && matches(error.code ?? "");
}

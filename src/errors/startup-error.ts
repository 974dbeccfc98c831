/** The service cannot start; the message tells the operator in one line what is wrong and what to do. */
export class StartupError extends Error {
  override readonly name = "StartupError";
}

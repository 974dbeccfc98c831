/** Yields the messages of a stream. If the stream fails, throws what `map` returns for the error. */
export async function* mapErrors<Message>(
  messages: AsyncIterable<Message>,
  map: (error: unknown) => unknown,
): AsyncIterable<Message> {
  try {
    yield* messages;
  } catch (error) {
    throw map(error);
  }
}

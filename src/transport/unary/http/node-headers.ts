import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http";

/** Returns a request header as `Headers.get()` does: without surrounding whitespace, and null if it is missing. */
export function headerOf(headers: IncomingHttpHeaders, name: string): string | null {
  const value = headers[name];
  if (value === undefined) return null;
  // Node joins repeated headers with a comma and a space, so an empty last one leaves a space at the end.
  return typeof value === "string" ? trim(value) : value.map(trim).join(", ");
}

/** Removes HTTP whitespace as defined by the Fetch standard. String.trim() would remove more. */
function trim(value: string): string {
  return hasWhitespaceAround.test(value) ? value.replace(whitespaceAround, "") : value;
}

const hasWhitespaceAround = /^[\t\n\r ]|[\t\n\r ]$/;
const whitespaceAround = /^[\t\n\r ]+|[\t\n\r ]+$/g;

/** Converts the headers of a request, without the pseudo-headers of HTTP/2. */
export function toWebHeaders(headers: IncomingHttpHeaders): Headers {
  const converted = new Headers();
  for (const name in headers) {
    const value = headers[name];
    if (value === undefined || name.startsWith(":")) continue;
    if (typeof value === "string") converted.append(name, value);
    else for (const item of value) converted.append(name, item);
  }
  return converted;
}

/** Converts the headers or trailers of an answer. */
export function toNodeHeaders(headers: Headers): OutgoingHttpHeaders {
  const converted: OutgoingHttpHeaders = {};
  headers.forEach((value, name) => {
    const existing = converted[name];
    if (existing === undefined) converted[name] = value;
    else if (Array.isArray(existing)) existing.push(value);
    else converted[name] = [String(existing), value];
  });
  return converted;
}

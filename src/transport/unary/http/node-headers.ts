import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http";

/** One header of a request, as Headers has it: null if there is none, and without whitespace around it. */
export function headerOf(headers: IncomingHttpHeaders, name: string): string | null {
  const value = headers[name];
  if (value === undefined) return null;
  // Node joins repeated headers, so an empty last one leaves a comma and a space at the end.
  return typeof value === "string" ? trim(value) : value.map(trim).join(", ");
}

/** Removes what the Fetch standard calls HTTP whitespace; String.trim() removes more. */
function trim(value: string): string {
  return hasWhitespaceAround.test(value) ? value.replace(whitespaceAround, "") : value;
}

const hasWhitespaceAround = /^[\t\n\r ]|[\t\n\r ]$/;
const whitespaceAround = /^[\t\n\r ]+|[\t\n\r ]+$/g;

/** The headers of a request, without the pseudo-headers of HTTP/2. */
export function toWebHeaders(headers: IncomingHttpHeaders): Headers {
  const converted = new Headers();
  for (const name in headers) {
    const value = headers[name];
    if (value === undefined || name.startsWith(":")) continue;
    if (typeof value === "string") converted.append(name, value);
    else for (const one of value) converted.append(name, one);
  }
  return converted;
}

/** Headers or trailers of an answer. */
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

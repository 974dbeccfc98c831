/**
 * Whether a name is one of the IANA database's, in any letter case. PostgreSQL would take more: abbreviations such as
 * PST, and POSIX rules such as UTC+3, which means the opposite of what it seems to.
 */
export function isTimeZone(name: string): boolean {
  // Intl also takes offsets, which are no names.
  if (!/^[A-Za-z]/.test(name)) return false;
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

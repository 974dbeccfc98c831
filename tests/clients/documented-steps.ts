import { readFile } from "node:fs/promises";

/** One step of a reader: to write a file, or to run commands, which print an output. */
export type Step =
  | { readonly kind: "file"; readonly name: string; readonly content: string }
  | { readonly kind: "run"; readonly commands: string; output: string };

/**
 * Returns the steps of one chapter of a page: its code blocks, in order. A block without a language is the output of
 * the commands before it.
 */
export async function readSteps(page: string, chapter: string): Promise<Step[]> {
  const text = await readFile(page, "utf8");
  const [, ...chapters] = text.split(/^## /m);
  const body = chapters.find((other) => other.startsWith(`${chapter}\n`));
  if (body === undefined) throw new Error(`${page} has no chapter ${chapter}`);
  const steps: Step[] = [];
  let name: string | undefined;
  for (const [, before = "", language = "", content = ""] of body.matchAll(
    /([^`]*(?:`[^`\n]+`[^`]*)*)^```(\w*)\n(.*?)^```$/gms,
  )) {
    name = /This is `(\S+)`:\s*$/.exec(before)?.[1];
    const last = steps.at(-1);
    if (language === "sh") steps.push({ kind: "run", commands: content, output: "" });
    else if (name !== undefined) steps.push({ kind: "file", name, content });
    else if (language === "" && last?.kind === "run") last.output = content;
    else throw new Error(`${page} has a block of an unknown kind:\n${content}`);
  }
  return steps;
}

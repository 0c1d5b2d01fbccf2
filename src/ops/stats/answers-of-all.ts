// One question to every other node of the datacenter, for an answer that is of all of them.
import type { Neighbours, OtherNodes } from "../../ports/datacenter/nodes.ts";

export interface AnswersOfAll<Answer> {
  readonly answers: readonly { readonly name: string; readonly answer: Answer }[];
  /** Names of those that have not answered, which a question rejects with, or cannot be asked; in order. */
  readonly silent: readonly string[];
}

/** All at once. Never rejects. */
export async function answersOfAll<Answer>(
  { nodes, list }: Neighbours,
  ask: (nodes: OtherNodes, address: string) => Promise<Answer>,
): Promise<AnswersOfAll<Answer>> {
  const asked = list().map(async ({ name, address }) => {
    if (nodes === undefined || address === null) return { name, answer: undefined };
    return { name, answer: await ask(nodes, address).catch(() => undefined) };
  });
  const all = await Promise.all(asked);
  return {
    answers: all.flatMap(({ name, answer }) => (answer === undefined ? [] : [{ name, answer }])),
    silent: all.flatMap(({ name, answer }) => (answer === undefined ? [name] : [])).sort(),
  };
}

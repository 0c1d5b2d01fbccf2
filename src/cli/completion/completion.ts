// `entrepot completion`: scripts that make a shell complete commands, options and their values. They are whole in themselves:
// no key pressed starts this program, which takes some tenths of a second.
import type { Command } from "commander";
import { bashCompletion } from "./bash.ts";
import { completedProgram } from "./completed-command.ts";
import { fishCompletion } from "./fish.ts";
import { zshCompletion } from "./zsh.ts";

export const shells = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof shells)[number];

/** The script for the commands of `root`, with its last newline. */
export function completionScript(shell: Shell, root: Command): string {
  const program = completedProgram(root);
  switch (shell) {
    case "bash":
      return bashCompletion(program);
    case "zsh":
      return zshCompletion(program);
    case "fish":
      return fishCompletion(program);
  }
}

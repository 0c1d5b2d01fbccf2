// The blocked digests in memory: those commanded on some node, and those of this node's file.
import type { Digest } from "../oci/digest.ts";
import {
  type BlockCommand,
  blockId,
  forgetUnblocked,
  keptBlockIds,
  maxBlocks,
  maxPartsInAll,
  merged,
} from "../ports/block/blocks.ts";

export interface ListedBlock {
  readonly digest: Digest;
  readonly reason: string;
  readonly origin: "command" | "file";
  /** When and where it was commanded; undefined for the file's. */
  readonly command: BlockCommand | undefined;
}

/** What a change of the list has come to. */
export interface BlockChanges {
  /** Commands that are not what they were, to be kept. */
  readonly put: readonly BlockCommand[];
  /** Digests of which nothing is known any more. */
  readonly gone: readonly Digest[];
  /** Digests that are blocked now and were not before, and the other way round. */
  readonly blocked: readonly Digest[];
  readonly unblocked: readonly Digest[];
  /** Blocks that could not be taken, since there are `maxBlocks`. */
  readonly leftOut: number;
}

export class BlockList {
  readonly #commands = new Map<Digest, BlockCommand>();
  #file: ReadonlyMap<Digest, string> = new Map();
  /** Blocked digests that each part belongs to. */
  readonly #parts = new Map<Digest, Set<Digest>>();
  #blockedCommands = 0;
  #partsInAll = 0;
  /** By `blockId`; undefined: to be made anew. */
  #ids: ReadonlyMap<string, BlockCommand> | undefined;

  /** Blocked digests. */
  get size(): number {
    let both = 0;
    for (const digest of this.#file.keys()) if (this.#commands.get(digest)?.blocked === true) both++;
    return this.#blockedCommands + this.#file.size - both;
  }

  get isEmpty(): boolean {
    return this.#blockedCommands === 0 && this.#file.size === 0;
  }

  /** Undefined for what is not blocked. Of both origins the command. */
  reasonOf(digest: Digest): string | undefined {
    const command = this.#commands.get(digest);
    return command?.blocked === true ? command.reason : this.#file.get(digest);
  }

  /** Blocked digests that it is known to belong to. */
  blocksWith(part: Digest): Iterable<Digest> {
    return this.#parts.get(part) ?? [];
  }

  /** Commands come in the order in which they were made, then the file's, in its order. */
  listed(): readonly ListedBlock[] {
    const commands = [...this.#commands.values()].filter(({ blocked }) => blocked);
    commands.sort((a, b) => a.at - b.at);
    const ofCommands = commands.map(
      (command): ListedBlock => ({
        digest: command.digest,
        reason: command.reason,
        origin: "command",
        command,
      }),
    );
    const ofFile = [...this.#file].flatMap(([digest, reason]): ListedBlock[] =>
      this.#commands.get(digest)?.blocked === true
        ? []
        : [{ digest, reason, origin: "file", command: undefined }],
    );
    return [...ofCommands, ...ofFile];
  }

  command(digest: Digest): BlockCommand | undefined {
    return this.#commands.get(digest);
  }

  /** Whether this node's own file has it, so that a command does not end the block here. */
  isInFile(digest: Digest): boolean {
    return this.#file.has(digest);
  }

  /** Ids of all commands, those of what is blocked no more among them. */
  ids(): readonly string[] {
    return [...this.#byId().keys()];
  }

  ofId(id: string): BlockCommand | undefined {
    return this.#byId().get(id);
  }

  #byId(): ReadonlyMap<string, BlockCommand> {
    this.#ids ??= new Map([...this.#commands.values()].map((command) => [blockId(command), command]));
    return this.#ids;
  }

  /** Takes over what is later than what is known, and the parts; forgets what was unblocked long before `now`. */
  take(commands: readonly BlockCommand[], now: number): BlockChanges {
    const [put, gone] = [new Map<Digest, BlockCommand>(), [] as Digest[]];
    const before = new Map<Digest, boolean>();
    let leftOut = 0;
    for (const command of commands) {
      const { digest } = command;
      if (isForgotten(command, now)) continue;
      const known = this.#commands.get(digest);
      const next = known === undefined ? command : merged(known, command);
      if (known !== undefined && blockId(next) === blockId(known)) continue;
      if (next.blocked && known?.blocked !== true && this.#blockedCommands >= maxBlocks) {
        leftOut++;
        continue;
      }
      if (!before.has(digest)) before.set(digest, this.reasonOf(digest) !== undefined);
      put.set(digest, this.#set(next));
    }
    for (const command of this.#commands.values()) if (isForgotten(command, now)) gone.push(command.digest);
    const kept = new Set(keptBlockIds([...this.#commands.values()].map(blockId)));
    for (const command of this.#commands.values())
      if (!command.blocked && !kept.has(blockId(command))) gone.push(command.digest);
    for (const digest of gone) {
      this.#unset(digest);
      put.delete(digest);
    }
    return { put: [...put.values()], gone: [...new Set(gone)], ...this.#changesSince(before), leftOut };
  }

  /** These, with their reasons, are the file's from now on. */
  useFile(file: ReadonlyMap<Digest, string>): Pick<BlockChanges, "blocked" | "unblocked"> {
    const before = new Map<Digest, boolean>();
    for (const digest of [...this.#file.keys(), ...file.keys()])
      before.set(digest, this.reasonOf(digest) !== undefined);
    this.#file = file;
    return this.#changesSince(before);
  }

  #changesSince(before: ReadonlyMap<Digest, boolean>): Pick<BlockChanges, "blocked" | "unblocked"> {
    const changed = [...before].filter(
      ([digest, wasBlocked]) => wasBlocked !== (this.reasonOf(digest) !== undefined),
    );
    return {
      blocked: changed.filter(([, wasBlocked]) => !wasBlocked).map(([digest]) => digest),
      unblocked: changed.filter(([, wasBlocked]) => wasBlocked).map(([digest]) => digest),
    };
  }

  #set(command: BlockCommand): BlockCommand {
    const { digest } = command;
    this.#unset(digest);
    const room = Math.max(0, maxPartsInAll - this.#partsInAll);
    const kept = command.parts.length <= room ? command : { ...command, parts: command.parts.slice(0, room) };
    this.#commands.set(digest, kept);
    this.#ids = undefined;
    this.#partsInAll += kept.parts.length;
    if (!kept.blocked) return kept;
    this.#blockedCommands++;
    for (const part of kept.parts) this.#parts.set(part, (this.#parts.get(part) ?? new Set()).add(digest));
    return kept;
  }

  #unset(digest: Digest): void {
    const known = this.#commands.get(digest);
    if (known === undefined) return;
    this.#commands.delete(digest);
    this.#ids = undefined;
    this.#partsInAll -= known.parts.length;
    if (known.blocked) this.#blockedCommands--;
    for (const part of known.parts) {
      const blocks = this.#parts.get(part);
      blocks?.delete(digest);
      if (blocks?.size === 0) this.#parts.delete(part);
    }
  }
}

function isForgotten({ blocked, at }: BlockCommand, now: number): boolean {
  return !blocked && at <= now - forgetUnblocked;
}

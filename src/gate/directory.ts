// Where users and their passwords are kept.

/** Somebody who has proved to be it. */
export interface Person {
  readonly name: string;
  /** Left out: in none. */
  readonly groups?: readonly string[] | undefined;
  /** Until when that is proved, by the steady clock; left out: there is no end. */
  readonly until?: number | undefined;
}

export interface Directory {
  /**
   * Whose name and password they are; undefined: nobody's. A name that nobody has takes as long as a wrong password. Rejects
   * with DirectoryDown when that cannot be found out now.
   */
  find(name: string, password: Buffer): Promise<Person | undefined>;
  /**
   * Another text once the person's password is another one, and none for a name that nobody has; it tells nothing of the
   * password. Left out where that cannot be known without asking.
   */
  stamp?(name: string): string | undefined;
}

/** The directory cannot be asked now. The message is for the log, and holds no secret. */
export class DirectoryDown extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "DirectoryDown";
  }
}

// The project of a repository, its first path segment, as a label: dashboards are made per project. Clients choose
// the names they ask for, so there are only so many labels, and only what exists gets one.

const other = "_other";

/**
 * Returns a function that gives the project of `repository`: undefined without a repository, `_other` for a project
 * that nothing was ever served from, and for every one after the first `most`.
 */
export function createProjectLabel(
  most: number,
): (repository: string | undefined, served: boolean) => string | undefined {
  const known = new Set<string>();
  return (repository, served) => {
    if (repository === undefined) return undefined;
    const end = repository.indexOf("/");
    const project = end < 0 ? repository : repository.slice(0, end);
    if (known.has(project)) return project;
    if (!served || known.size >= most) return other;
    known.add(project);
    return project;
  };
}

/** Calls `work` for each item in order, at most so many at once. Rejects with the first failure, once all that had begun have ended. */
export async function eachAtOnce<T>(
  items: readonly T[],
  atOnce: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const waiting = items.values();
  const worker = async (): Promise<void> => {
    for (const item of waiting) await work(item);
  };
  const workers = Array.from({ length: Math.min(atOnce, items.length) }, worker);
  const [failed] = (await Promise.allSettled(workers)).filter(({ status }) => status === "rejected");
  if (failed?.status === "rejected") throw failed.reason;
}

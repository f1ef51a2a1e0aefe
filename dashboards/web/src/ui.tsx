// Small parts that every screen uses.

import { useEffect, useRef, useState } from "preact/hooks";
import type { ComponentChildren } from "preact";
import { SHAPES } from "./format";
import type { Tone } from "./format";
import { onChanged } from "./live";

export function Badge({ tone, children }: { tone: Tone; children: ComponentChildren }) {
  return <span class={"badge " + tone}><i aria-hidden="true">{SHAPES[tone]}</i>{children}</span>;
}

export function Tile({ name, value, small, tone }:
    { name: string; value: ComponentChildren; small?: ComponentChildren; tone?: Tone }) {
  return <dl class={"tile " + (tone ?? "")}>
    <dt>{name}</dt><dd>{value}</dd><dd class="small">{small}</dd>
  </dl>;
}

export function Card({ title, aside, children, id }:
    { title?: ComponentChildren; aside?: ComponentChildren; children: ComponentChildren;
      id?: string }) {
  return <section class="card" id={id}>
    {title !== undefined && <header><h2>{title}</h2>{aside}</header>}
    {children}
  </section>;
}

export interface Column<T> {
  name: string;
  number?: boolean;
  cell: (row: T) => ComponentChildren;
}

// Rows can be walked with j and k, and opened with Enter.
export function Table<T>({ columns, rows, keyOf, open, empty, label }: {
  columns: Column<T>[]; rows: T[]; keyOf: (row: T) => string;
  open?: (row: T) => void; empty: string; label: string; }) {
  if (rows.length === 0) return <p class="quiet">{empty}</p>;
  return <div class="scroll" tabIndex={0} role="region" aria-label={label}><table>
    <thead><tr>{columns.map((c) =>
      <th scope="col" class={c.number ? "number" : ""}>{c.name}</th>)}</tr></thead>
    <tbody>{rows.map((row) =>
      <tr key={keyOf(row)} class={open ? "opens" : ""} tabIndex={open ? 0 : undefined}
          data-row={open ? keyOf(row) : undefined}
          onClick={open && ((event: MouseEvent) => {
            if (!(event.target as Element).closest("a, button")) open(row);
          })}
          onKeyDown={open && ((event: KeyboardEvent) => {
            if (event.key === "Enter" && event.target === event.currentTarget) open(row);
          })}>
        {columns.map((c) => <td class={c.number ? "number" : ""}>{c.cell(row)}</td>)}
      </tr>)}</tbody>
  </table></div>;
}

export interface Loaded<T> { value: T | null; error: string; reload: () => void; }

// Reads with `load` when `key` changes, when the server says that something of
// `what` changed for `run`, and every `periodMs` at the latest. Never two at a
// time, and never more often than the answers take twenty-fold.
export function useLoaded<T>(key: string, load: () => Promise<T>,
    options: { run?: string; what?: string[]; periodMs?: number } = {}): Loaded<T> {
  const [state, setState] = useState<{ key: string; value: T | null; error: string }>(
    { key, value: null, error: "" });
  const again = useRef<() => void>(() => {});
  useEffect(() => {
    let gone = false;
    let busy = false;
    let due = false;
    let timer = 0;
    let notBefore = 0;
    const read = async () => {
      if (gone || document.hidden) return;
      if (busy) {
        due = true;
        return;
      }
      const now = performance.now();
      clearTimeout(timer);
      if (now < notBefore) {
        timer = window.setTimeout(read, notBefore - now);
        return;
      }
      busy = true;
      due = false;
      try {
        const value = await load();
        if (!gone) setState({ key, value, error: "" });
      } catch (error) {
        if (!gone) {
          setState((old) => ({ key, value: old.key === key ? old.value : null,
                               error: (error as Error).message }));
        }
      }
      busy = false;
      const took = performance.now() - now;
      notBefore = performance.now() + Math.max(400, 20 * took);
      clearTimeout(timer);
      if (!gone) timer = window.setTimeout(read, due ? notBefore - performance.now()
        : options.periodMs ?? 15_000);
    };
    again.current = () => { notBefore = 0; void read(); };
    const stop = onChanged((run, what) => {
      if (options.run && run && run !== options.run) return;
      if (what.includes("resync") || what.some((w) => options.what?.includes(w))) void read();
    });
    document.addEventListener("visibilitychange", read);
    void read();
    return () => {
      gone = true;
      clearTimeout(timer);
      stop();
      document.removeEventListener("visibilitychange", read);
    };
  }, [key]);
  return { value: state.key === key ? state.value : null,
           error: state.key === key ? state.error : "",
           reload: () => again.current() };
}

export function Problem({ error }: { error: string }) {
  return error ? <p class="problem" role="alert"><i aria-hidden="true">■</i> {error}</p> : null;
}

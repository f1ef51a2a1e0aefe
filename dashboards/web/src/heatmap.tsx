// Step time of every rank, step by step, on a canvas; beside it the ten
// slowest, since one row of pixels is easily overlooked.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Heatmap as Reply } from "./api";
import { num, seconds, short } from "./format";
import { cellAt, decodeCells, paint, palette, rankGroups } from "./heat";
import type { Cell, Matrix } from "./heat";
import { rankHash } from "./route";
import { Card, Table } from "./ui";

export function toMatrix(reply: Reply): Matrix {
  return {
    rows: reply.rows, columns: reply.columns, cells: decodeCells(reply.cells),
    low: reply.low, high: reply.high, ranksPerRow: reply.ranks_per_row,
    stepsPerColumn: num(reply.steps_per_column), firstStep: num(reply.first_step),
    worldSize: reply.world_size,
  };
}

function describe(cell: Cell | null): string {
  if (!cell) return "";
  const ranks = cell.ranks[0] === cell.ranks[1] ? `rank ${cell.ranks[0]}`
    : `ranks ${cell.ranks[0]}–${cell.ranks[1]}, the slowest`;
  const steps = cell.steps[0] === cell.steps[1] ? `step ${short(cell.steps[0])}`
    : `steps ${short(cell.steps[0])}–${short(cell.steps[1])}`;
  const ratio = Number.isNaN(cell.ratio) ? "nothing reported"
    : `${cell.isClipped ? "≥ " : ""}${cell.ratio.toFixed(2)} × median`;
  return `${ranks}, ${steps}: ${ratio}`;
}

const MISSING: [number, number, number] = [120, 128, 140];

function Picture({ matrix, onCell, onPick }: {
  matrix: Matrix; onCell: (cell: Cell | null) => void; onPick: (cell: Cell) => void }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const context = canvas.current!.getContext("2d")!;
    canvas.current!.width = matrix.columns;
    canvas.current!.height = matrix.rows;
    const image = context.createImageData(matrix.columns, matrix.rows);
    paint(matrix, palette(MISSING), new Uint32Array(image.data.buffer));
    context.putImageData(image, 0, 0);
  }, [matrix]);
  const under = (event: MouseEvent) => {
    const box = canvas.current!.getBoundingClientRect();
    return cellAt(matrix, (event.clientX - box.left) / box.width,
                  (event.clientY - box.top) / box.height);
  };
  return <canvas ref={canvas} class="heat" role="img" onMouseMove={(event) => onCell(under(event))}
    onClick={(event) => {
      const cell = under(event);
      if (cell) onPick(cell);
    }}
    onMouseLeave={() => onCell(null)}
    aria-label={`Step time of ${matrix.worldSize} ranks over ${matrix.columns} columns of steps`} />;
}

export function Heatmap({ reply, run }: { reply: Reply; run: string }) {
  const matrix = useMemo(() => toMatrix(reply), [reply]);
  const [cell, setCell] = useState<Cell | null>(null);
  // Of a row of several ranks, the one that is known to be slow.
  const pick = ({ ranks: [from, to] }: Cell) => {
    const known = reply.slowest.find((s) => s.rank >= from && s.rank <= to);
    location.hash = rankHash(run, known?.rank ?? from);
  };
  const slow = reply.slowest.filter((s) => s.mean_ratio >= 1.1);
  return <Card title="Step time by rank" aside={<span class="quiet">
      ratio to the step's median, steps {short(num(reply.first_step))} to{" "}
      {short(num(reply.last_step))}, {short(reply.world_size)} ranks
      {reply.ranks_per_row > 1 ? `, slowest of ${reply.ranks_per_row} a row` : ""}</span>}>
    <div class="heatpair">
      <div>
        {reply.rows > 0 ? <Picture matrix={matrix} onCell={setCell} onPick={pick} />
          : <p class="quiet">no step with all its ranks is stored yet</p>}
        <p class="legend"><span>{reply.low.toFixed(1)} ×</span><i class="ramp" aria-hidden="true" />
          <span>{reply.high.toFixed(1)} ×</span>
          <span class="reading">{describe(cell) || "point at a cell: ranks, steps, ratio; click: the rank's history"}</span></p>
        {reply.narrowed && <p class="quiet small">{reply.narrowed}</p>}
      </div>
      <div class="slowest">
        <h3>Slowest ranks</h3>
        {slow.length > 1 && <p class="quiet small">over 1.1 ×: ranks {rankGroups(slow.map((s) => s.rank))}</p>}
        <Table label="Slowest ranks" rows={reply.slowest} keyOf={(s) => String(s.rank)}
          empty="none yet" columns={[
          { name: "rank", number: true, cell: (s) => <a href={rankHash(run, s.rank)}>{s.rank}</a> },
          { name: "node", cell: (s) => s.node || "–" },
          { name: "mean", number: true, cell: (s) =>
            <span class={s.mean_ratio >= 1.1 ? "warn" : ""}>{s.mean_ratio.toFixed(2)} ×</span> },
          { name: "worst", number: true, cell: (s) => <span
            title={`at step ${short(num(s.worst_step))}`}>{s.worst_ratio.toFixed(2)} ×</span> },
          { name: "time", number: true, cell: (s) => seconds(s.mean_seconds) },
        ]} />
      </div>
    </div>
  </Card>;
}

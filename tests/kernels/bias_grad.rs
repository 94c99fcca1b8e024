//! bias_grad.cu: column sums, and the second stage that other families use too.
use crate::measure::{Stored, judge};
use crate::reference::cast;
use crate::reference::ops::column_sums;
use crate::reference::random::Random;
use crate::rig::{Run, bf16s, check_traffic, count, deterministic, every_mode, mutations};
use crate::strided::{COLUMN_ROWS, COLUMN_SMEM, column_grid, spread};
use rewarm::Result;
use rewarm::device::{Arg, Buffer, ColumnTable, SumTable};
use rewarm::ops::{Shape, cost};

/// Sums `partials [chunks, out.len(), cols]` over the chunks.
pub fn sum_partials(
    run: &mut Run,
    partials: &Buffer<f32>,
    chunks: usize,
    cols: usize,
    out: &[Buffer<f32>],
    accumulate: bool,
) -> Result<()> {
    let count = out.len();
    let mut table = SumTable::default();
    for (i, out) in out.iter().enumerate() {
        let (from, ld) = (partials.address(i * cols), cols * count);
        table.set(i, from, out.address(0), [chunks, cols, ld]);
    }
    let args = [Arg::bytes(&table), i32::from(accumulate).into()];
    run.launch("sum_partials", [cols.div_ceil(128), count, 1], 256, 4096, &args)?;
    Ok(())
}

struct Case {
    rows: usize,
    cols: usize,
    ld: usize,
    dy: Vec<f32>,
    before: Option<Vec<f32>>,
}

impl Case {
    fn new(rows: usize, cols: usize, ld: usize) -> Self {
        let dy = bf16s(&Random::new(11).normals(rows * cols, 0.1, 1.0));
        Self { rows, cols, ld, dy, before: None }
    }

    fn run(&self, run: &mut Run) -> Result<()> {
        let (rows, cols, chunks) = (self.rows, self.cols, self.rows.div_ceil(COLUMN_ROWS));
        let dy = run.upload_bf16(&spread(&self.dy, cols, self.ld));
        let partials: Buffer<f32> = run.poisoned(chunks * cols);
        let mut table = ColumnTable::default();
        table.set(0, dy.address(0), self.ld, partials.address(0), cols);
        let args = [Arg::bytes(&table), (rows as i32).into()];
        run.launch("bias_grad", column_grid(rows, cols), 256, COLUMN_SMEM, &args)?;
        let out = match &self.before {
            Some(b) => run.upload(b),
            None => run.poisoned(cols),
        };
        sum_partials(run, &partials, chunks, cols, &[out], self.before.is_some())?;
        run.output("db", &out);
        Ok(())
    }

    fn check(&self) {
        let outputs = every_mode(|run| self.run(run));
        let mut naive = column_sums(&self.dy, self.cols);
        let mut exact = column_sums(&cast::<f32, f64>(&self.dy), self.cols);
        for (i, &b) in self.before.iter().flatten().enumerate() {
            naive[i] += b;
            exact[i] += f64::from(b);
        }
        let shape = format!("bias_grad {}x{}", self.rows, self.cols);
        judge(&shape, Stored::F32, outputs.get("db"), &naive, &exact, self.cols);
    }
}

#[test]
fn matches_the_reference_in_every_mode() {
    let narrow = [(1, 8, 8), (1, 512, 512), (7, 264, 272), (129, 768, 768), (300, 40, 48), (2049, 40, 40)];
    for (rows, cols, ld) in
        narrow.into_iter().chain([(130, 5120, 5120), (1, 20480, 20480), (130, 20480, 20488)])
    {
        let mut case = Case::new(rows, cols, ld);
        case.check();
        case.before = Some(Random::new(1).normals(cols, 0.0, 10.0));
        case.check();
    }
}

/// Sums of one value over and over: rounding errors that all have the same sign.
#[test]
fn constant_rows() {
    let mut case = Case::new(2049, 40, 40);
    for (dy, value) in case.dy.chunks_mut(40).zip([0.3, 50.0, 0.0].into_iter().cycle()) {
        dy.fill(value);
    }
    case.dy = bf16s(&case.dy);
    case.check();
}

/// Two matrices and five sums, none of a size with another, in one launch each.
#[test]
fn several_at_once() {
    let (rows, widths) = (300, [264, 40]);
    let dys = widths.map(|cols| bf16s(&Random::new(cols as u64).normals(rows * cols, 0.1, 1.0)));
    let long: Vec<f32> = Random::new(9).normals(3 * 7 * 520, 0.0, 1.0);
    let chunks = rows.div_ceil(COLUMN_ROWS);
    let outputs = every_mode(|run| {
        let (mut columns, mut sums) = (ColumnTable::default(), SumTable::default());
        let outs = widths.map(|cols| run.poisoned::<f32>(cols));
        for (i, cols) in widths.into_iter().enumerate() {
            let (dy, partials) = (run.upload_bf16(&dys[i]), run.poisoned::<f32>(chunks * cols));
            columns.set(i, dy.address(0), cols, partials.address(0), cols);
            sums.set(i, partials.address(0), outs[i].address(0), [chunks, cols, cols]);
        }
        let args = [Arg::bytes(&columns), (rows as i32).into()];
        let [x, y, _] = column_grid(rows, 264);
        run.launch("bias_grad", [x, y, 2], 256, COLUMN_SMEM, &args)?;
        let (from, more) = (run.upload(&long), run.poisoned::<f32>(3 * 520));
        for i in 0..3 {
            sums.set(2 + i, from.address(i * 520), more.address(i * 520), [7, 520, 3 * 520]);
        }
        run.launch(
            "sum_partials",
            [520usize.div_ceil(128), 5, 1],
            256,
            4096,
            &[Arg::bytes(&sums), 0i32.into()],
        )?;
        run.output("first", &outs[0]);
        run.output("second", &outs[1]);
        run.output("more", &more);
        Ok(())
    });
    let check = |name, values: &[f32], cols| {
        let exact = column_sums(&cast::<f32, f64>(values), cols);
        judge(
            &format!("several {name}"),
            Stored::F32,
            outputs.get(name),
            &column_sums(values, cols),
            &exact,
            cols,
        );
    };
    check("first", &dys[0], 264);
    check("second", &dys[1], 40);
    check("more", &long, 3 * 520);
}

/// Thousands of chunks: the sums of the second stage are long as well.
#[test]
fn many_chunks() {
    let (chunks, cols) = (2051, 132);
    let partials: Vec<f32> = Random::new(4).normals(chunks * cols, 1.0, 1.0);
    let outputs = every_mode(|run| {
        let (from, out) = (run.upload(&partials), run.poisoned(cols));
        sum_partials(run, &from, chunks, cols, &[out], false)?;
        run.output("sum", &out);
        Ok(())
    });
    let (naive, exact) = (column_sums(&partials, cols), column_sums(&cast::<f32, f64>(&partials), cols));
    judge("sum_partials 2051x132", Stored::F32, outputs.get("sum"), &naive, &exact, cols);
}

#[test]
fn traffic_is_the_cost() {
    for cols in [128, 1024, 5120] {
        let case = Case::new(2048, cols, cols);
        let s = Shape { batch: 1, time: case.rows };
        let sums = cost::sum_partials(case.rows / COLUMN_ROWS, cols, false);
        check_traffic(&count(|run| case.run(run)), cost::bias_grad(s, cols, 2).bytes + sums.bytes);
    }
}

#[test]
fn equal_bits_whatever_runs_first() {
    let mut case = Case::new(300, 264, 272);
    case.before = Some(vec![1.0; 264]);
    deterministic(|run| case.run(run));
}

#[test]
fn every_synchronisation_is_needed() {
    mutations("bias_grad", &[], |run| Case::new(300, 264, 264).run(run));
}

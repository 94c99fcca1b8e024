use rewarm::{backend::cpu::Cpu, model::*, ops::*, optim::*, train::*};
use std::time::Instant;
fn main() {
    let small = std::env::args().nth(1).as_deref() != Some("70m");
    let steps: usize = std::env::args().nth(2).map(|s| s.parse().unwrap()).unwrap_or(10);
    let mut c = preset("pythia-70m").unwrap();
    let (b, t) = if small { (8, 256) } else { (4, 512) };
    if small {
        c.num_hidden_layers = 4;
        c.hidden_size = 256;
        c.num_attention_heads = 8;
        c.vocab_size = 4096;
        c.intermediate_size = 1024;
    }
    let chunk: usize = std::env::args().nth(3).map(|s| s.parse().unwrap()).unwrap_or(1024);
    let model = Model::new(c.clone());
    let ws = Workspace::new(&c, Shape { batch: b, time: t }, chunk, Purpose::Train);
    let mut cpu = Cpu::new(&c, &model.table, &ws);
    cpu.load_state(&mut |w, _, _| {
        initialize(&c, &model.table, Init::Normal, 1, w);
        Ok(())
    })
    .unwrap();
    let params = assign(&model.table, &[], 0.1);
    let adam = AdamSettings { betas: [0.9, 0.95], eps: 1e-8, clip: 1.0 };
    let mut x = 12345u64;
    let toks: Vec<i32> = (0..b * t)
        .map(|_| {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((x >> 33) % c.vocab_size as u64) as i32
        })
        .collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    pool.install(|| {
        let mut ts = vec![];
        for i in 0..steps {
            let s = Instant::now();
            let r = train_step(
                &model,
                &mut cpu,
                &ws,
                Micro { tokens: &toks, targets: &toks, time: t, batch: b },
                &params,
                adam,
                1e-4,
                i as u64,
            )
            .unwrap();
            ts.push(s.elapsed().as_secs_f64());
            if i < 3 || i == steps - 1 {
                println!("{i} {r:?} {:.1} ms", ts[i] * 1e3);
            }
        }
        ts.remove(0);
        ts.sort_by(f64::total_cmp);
        let m = ts[ts.len() / 2];
        println!(
            "median {:.1} ms {:.0} tok/s {:.1} GFLOP/s",
            m * 1e3,
            (b * t) as f64 / m,
            (b * t) as f64 / m * c.flops_per_token(t) / 1e9
        );
    });
}

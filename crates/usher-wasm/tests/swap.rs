//! The swap benchmark measures swaps that are real, for every size that it is asked for.

use usher_wasm::measure_swap;

#[tokio::test]
async fn a_figure_for_each_size_in_whole_pages() {
    let figures = measure_swap(&[1, 1 << 20, 64 << 20]).await;
    let figures = figures.expect("live environments are measured");
    let sizes: Vec<_> = figures.iter().map(|figure| figure.state_bytes).collect();
    assert_eq!(sizes, [64 << 10, 1 << 20, 64 << 20]);
    for figure in figures {
        println!("{figure:?}");
        assert!(figure.swap_us_min <= figure.swap_us);
        assert!(figure.swap_us <= figure.swap_us_max);
    }
}

#[tokio::test]
async fn a_state_beyond_32_bits_is_refused_by_name() {
    let error = measure_swap(&[1 << 33]).await.expect_err("is too large");
    assert!(error.contains("8589934592 bytes"), "{error}");
}

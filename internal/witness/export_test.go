package witness

// BreakFiles has every write of the table fail from now on.
func (w *Witness) BreakFiles() {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.files.close()
}

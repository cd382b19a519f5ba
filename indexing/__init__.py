"""Sources to pages to a committed index: inspection, rendering, OCR, the build."""

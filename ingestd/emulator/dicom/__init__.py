"""DICOM as the service reads it."""

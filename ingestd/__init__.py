"""ingestd ships every DICOM file dropped into a folder to a DICOMweb store service and loses nothing on the way."""

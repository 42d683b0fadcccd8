# An image in a project of Google Cloud. Its user is no root: -var 'become=sudo -n'.

locals {
  builder = "googlecompute"
}

variable "project" {
  type        = string
  default     = env("GOOGLE_CLOUD_PROJECT")
  description = "By default the environment variable GOOGLE_CLOUD_PROJECT."
}

variable "account_file" {
  type        = string
  default     = ""
  description = "The key file of a service account; empty: what `gcloud auth application-default login` left."
}

variable "zone" {
  type        = string
  default     = "europe-west4-a"
  description = "Where the image is made; T2A, for arm64, is in europe-west4, us-central1 and asia-southeast1 only."
}

variable "machine_type" {
  type        = string
  default     = ""
  description = "Empty: a small one of the architecture."
}

variable "base_image_family" {
  type        = string
  default     = ""
  description = "Empty: Debian 13 of the architecture."
}

variable "ssh_username" {
  type        = string
  default     = "packer"
  description = "The user that is made for the build; the seal takes its keys away."
}

# Machine types as of November 2026.
source "googlecompute" "mailcow-ready" {
  project_id          = var.project
  account_file        = var.account_file
  zone                = var.zone
  machine_type        = var.machine_type != "" ? var.machine_type : (var.architecture == "arm64" ? "t2a-standard-1" : "e2-medium")
  source_image_family = var.base_image_family != "" ? var.base_image_family : (var.architecture == "arm64" ? "debian-13-arm64" : "debian-13")
  disk_size           = 20
  ssh_username        = var.ssh_username
  image_name          = "${var.snapshot_name}-${formatdate("YYYYMMDDhhmm", timestamp())}"
  image_family        = var.snapshot_name
}

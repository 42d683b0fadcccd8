# A snapshot in a Hetzner Cloud project.

locals {
  builder = "hcloud"
}

variable "token" {
  type        = string
  default     = env("HCLOUD_TOKEN")
  sensitive   = true
  description = "API token of the project; by default the environment variable HCLOUD_TOKEN."
}

variable "location" {
  type    = string
  default = "nbg1"
}

variable "base_image" {
  type    = string
  default = "debian-13"
}

variable "server_type" {
  type        = string
  default     = ""
  description = "Empty: a small one of the architecture. A snapshot boots only on disks that are at least as large."
}

# Server types as of November 2026; cx22 was withdrawn.
source "hcloud" "mailcow-ready" {
  token         = var.token
  location      = var.location
  image         = var.base_image
  server_type   = var.server_type != "" ? var.server_type : (var.architecture == "arm64" ? "cax11" : "cx23")
  ssh_username  = "root"
  snapshot_name = "${var.snapshot_name}-${formatdate("YYYYMMDDhhmm", timestamp())}"
  snapshot_labels = {
    app = var.snapshot_name
  }
}

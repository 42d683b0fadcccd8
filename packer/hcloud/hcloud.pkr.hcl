# A snapshot in a Hetzner Cloud project.

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

locals {
  # /dev/shm: nothing that Packer uploads may be left in the image, and /tmp is looked into.
  uploads = "/dev/shm"
  execute = "${var.become} env {{ .Vars }} sh {{ .Path }}"
  scripts = "${path.root}/../scripts"
}

build {
  sources = ["source.hcloud.mailcow-ready"]

  provisioner "file" {
    source      = var.cowgate_pyz
    destination = "${local.uploads}/cowgate.pyz"
  }

  provisioner "file" {
    source      = var.policy
    destination = "${local.uploads}/policy.yaml"
  }

  provisioner "file" {
    source      = "${path.root}/../marketplace"
    destination = local.uploads
  }

  provisioner "shell" {
    remote_folder   = local.uploads
    execute_command = local.execute
    environment_vars = [
      "COWGATE_SHA256=${var.cowgate_sha256}",
      "MAILCOW_VERSION=${var.mailcow_version}",
      "ONBOARDING=${var.onboarding}",
    ]
    scripts = [
      "${local.scripts}/wait.sh",
      "${local.scripts}/install.sh",
      "${local.scripts}/build.sh",
      "${local.scripts}/pull.sh",
      "${local.scripts}/onboarding.sh",
    ]
  }

  provisioner "file" {
    direction   = "download"
    source      = "/var/lib/cowgate/readiness.json"
    destination = "${var.report_directory}/hcloud.json"
  }

  provisioner "shell" {
    remote_folder   = local.uploads
    execute_command = local.execute
    scripts = [
      var.customize_script,
      "${local.scripts}/seal.sh",
    ]
  }

  provisioner "file" {
    direction   = "download"
    source      = "${local.uploads}/gate.json"
    destination = "${var.report_directory}/hcloud-gate.json"
  }

  provisioner "shell" {
    remote_folder   = local.uploads
    execute_command = local.execute
    scripts         = ["${local.scripts}/gate.sh"]
  }

  # Only written when the gate passed.
  post-processor "manifest" {
    output     = "${var.report_directory}/manifest.json"
    strip_path = true
    custom_data = {
      verdict        = "passed"
      report         = "hcloud-gate.json"
      cowgate_sha256 = var.cowgate_sha256
    }
  }
}

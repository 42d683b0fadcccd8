# A template on a Proxmox VE, made from a template with cloud-init that is there.

variable "proxmox_url" {
  type        = string
  default     = env("PROXMOX_URL")
  description = "https://HOST:8006/api2/json; by default the environment variable PROXMOX_URL."
}

variable "proxmox_username" {
  type        = string
  default     = env("PROXMOX_USERNAME")
  description = "Such as root@pam; by default the environment variable PROXMOX_USERNAME."
}

variable "proxmox_password" {
  type        = string
  default     = env("PROXMOX_PASSWORD")
  sensitive   = true
  description = "By default the environment variable PROXMOX_PASSWORD."
}

variable "node" {
  type        = string
  default     = "pve"
  description = "The node of the cluster that builds."
}

variable "clone_vm" {
  type        = string
  default     = "debian-13"
  description = "The template to start from: a cloud image with a drive for cloud-init."
}

variable "ssh_username" {
  type        = string
  default     = "root"
  description = "The user of the template."
}

source "proxmox-clone" "mailcow-ready" {
  proxmox_url   = var.proxmox_url
  username      = var.proxmox_username
  password      = var.proxmox_password
  node          = var.node
  clone_vm      = var.clone_vm
  full_clone    = true
  cores         = 2
  memory        = 2048
  os            = "l26"
  ssh_username  = var.ssh_username
  template_name = "${var.snapshot_name}-${formatdate("YYYYMMDDhhmm", timestamp())}"
}

locals {
  # /dev/shm: nothing that Packer uploads may be left in the image, and /tmp is looked into.
  uploads = "/dev/shm"
  execute = "${var.become} env {{ .Vars }} sh {{ .Path }}"
  scripts = "${path.root}/../scripts"
}

build {
  sources = ["source.proxmox-clone.mailcow-ready"]

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
    destination = "${var.report_directory}/proxmox-clone.json"
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
    destination = "${var.report_directory}/proxmox-clone-gate.json"
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
      report         = "proxmox-clone-gate.json"
      cowgate_sha256 = var.cowgate_sha256
    }
  }
}
